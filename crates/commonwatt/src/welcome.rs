//! What a person sees when the daemon has started: where it is, the key, and a line that works when pasted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::home::{FirstKey, KeyOrigin};
use crate::settings::Settings;
use crate::term::{self, Paint};

/// Prints the address, the key and a command to try. A daemon whose standard output is gone goes on without.
pub(crate) fn print(url: &str, settings: &Settings, is_first_run: bool) {
    let _ = term::text(text(
        url,
        settings.first_key.as_ref(),
        is_first_run,
        &program(&settings.origin.env),
        Paint::for_stdout(),
    ));
}

/// The address under which programs on this machine reach a daemon that listens there.
pub(crate) fn url(listen: SocketAddr) -> String {
    let ip: IpAddr = match listen.ip() {
        IpAddr::V4(ip) => if ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { ip }.into(),
        IpAddr::V6(ip) => if ip.is_unspecified() { Ipv6Addr::LOCALHOST } else { ip }.into(),
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// The key itself is shown once, when it is made; later only where it lies. The command shows it neither: the shell
/// reads it from its file, so that it stays out of the shell's history.
fn text(url: &str, key: Option<&FirstKey>, is_first_run: bool, program: &str, paint: Paint) -> String {
    let mut text = "\n".to_owned();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{}  {value}\n", paint.dim(&format!("{name:>9}"))));
    line("listening", url);
    let bearer = match key {
        Some(FirstKey { key, origin: KeyOrigin::File(path) }) => {
            let path = shell_word(&path.display().to_string());
            if is_first_run {
                line("key", &paint.bold(key.reveal()));
                line("", &paint.dim(&format!("shown once; kept for this machine in {path}, for the daemon as a hash")));
            } else {
                line("key", &format!("in {path}"));
            }
            format!("$(cat {path})")
        }
        Some(FirstKey { origin: KeyOrigin::Environment, .. }) => {
            line("key", "`COMMONWATT_KEY`");
            "$COMMONWATT_KEY".to_owned()
        }
        None => {
            line("key", "one of those in `commonwatt key list`");
            "YOUR-KEY".to_owned()
        }
    };
    text.push_str(&format!("\n{}\n", paint.dim("try it:")));
    text.push_str(&format!(
        "  curl -N {url}/v1/chat/completions -H \"Authorization: Bearer {bearer}\" -H 'Content-Type: application/json' \
         -d '{{\"model\":\"auto\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"What is Commonwatt?\"}}]}}'\n"
    ));
    text.push_str(&format!("  {program} chat\n"));
    text
}

/// What to type for this program: its name where the shell finds it by that, else where it lies.
fn program(env: &Env) -> String {
    const NAME: &str = "commonwatt";
    let Ok(here) = std::env::current_exe() else { return NAME.to_owned() };
    let is_here = |folder: PathBuf| folder.join(NAME).canonicalize().is_ok_and(|found| found == here);
    let is_found = env.get("PATH").is_some_and(|path| std::env::split_paths(path).any(is_here));
    if is_found {
        return NAME.to_owned();
    }
    let below = std::env::current_dir().ok().and_then(|folder| here.strip_prefix(folder).ok().map(Path::to_path_buf));
    shell_word(&below.unwrap_or(here).display().to_string())
}

/// A path as the shell reads it inside double quotes and out.
fn shell_word(path: &str) -> String {
    let is_plain = path.chars().all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+'));
    if is_plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(origin: KeyOrigin) -> FirstKey {
        FirstKey { key: Secret::new("cw-secret"), origin }
    }

    #[test]
    fn the_key_is_shown_on_the_first_run_only() {
        let file = key(KeyOrigin::File("/h/key".into()));
        let first = text("http://127.0.0.1:4600", Some(&file), true, "commonwatt", Paint::PLAIN);
        assert!(first.contains("key  cw-secret\n"), "{first}");
        let later = text("http://127.0.0.1:4600", Some(&file), false, "commonwatt", Paint::PLAIN);
        assert!(!later.contains("cw-secret"), "{later}");
        assert!(later.contains("key  in /h/key\n"), "{later}");
    }

    #[test]
    fn the_address_is_one_that_can_be_called() {
        assert_eq!(url(SocketAddr::from(([0, 0, 0, 0], 4600))), "http://127.0.0.1:4600");
        assert_eq!(url(SocketAddr::from(([10, 0, 0, 7], 80))), "http://10.0.0.7:80");
        assert_eq!(url("[::]:4600".parse().expect("an address")), "http://[::1]:4600");
    }

    #[test]
    fn the_command_reads_the_key_where_it_is() {
        let file =
            text("http://h", Some(&key(KeyOrigin::File("/my home/key".into()))), false, "commonwatt", Paint::PLAIN);
        assert!(file.contains("\"Authorization: Bearer $(cat '/my home/key')\""), "{file}");
        let preset = text("http://h", Some(&key(KeyOrigin::Environment)), true, "commonwatt", Paint::PLAIN);
        assert!(preset.contains("\"Authorization: Bearer $COMMONWATT_KEY\""), "{preset}");
        assert!(!preset.contains("cw-secret"), "{preset}");
    }
}
