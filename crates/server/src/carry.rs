//! `POST /admin/v1/export` and `POST /admin/v1/import`: sessions taken along, and what other systems export brought in.
//!
//! Both work on what their caller's key may see. A bundle and what is made of it are held in memory, so one of either is
//! under way at a time.

use std::sync::Arc;

use bytes::Bytes;
use commonwatt_bundle::import::{BadImport, Imported, chatgpt, claude, letta};
use commonwatt_bundle::{BadBundle, Limits, NotWritten, Opened, PublicKey, SigningKey, Wrong};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_grid::bus::Bus;
use commonwatt_grid::bus::carry::{Brought, Chosen, Outcome, Stamp, System};
use commonwatt_upstream::body::KeptBody;
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admin::{refuse, send};
use crate::respond::Body;
use crate::{Lobby, doors, respond};

/// Bytes of a body that is imported: a bundle of 256 MiB with its headers and manifest. What other systems export is a zip,
/// and the largest known has 100 MiB without its images.
pub const IMPORT_BYTES_MAX: usize = 320 << 20;

/// Reads or makes the key with which this node signs; one sentence when it cannot be had.
type Key = dyn Fn() -> Result<SigningKey, String> + Send + Sync;
/// Whether a caller trusts a signer.
type Knows = dyn Fn(&str, &PublicKey) -> Result<bool, String> + Send + Sync;
/// Notes that a caller trusts a signer, and how that one calls its node.
type Trust = dyn Fn(&str, &PublicKey, &str) -> Result<(), String> + Send + Sync;

/// What the daemon does for those who take sessions along.
pub struct Carriage {
    key: Box<Key>,
    knows: Box<Knows>,
    trust: Box<Trust>,
    /// One bundle at a time.
    slot: Arc<Semaphore>,
}

impl Carriage {
    /// By these means.
    #[must_use]
    pub fn new(key: Box<Key>, knows: Box<Knows>, trust: Box<Trust>) -> Arc<Self> {
        Arc::new(Self { key, knows, trust, slot: Arc::new(Semaphore::new(1)) })
    }

    fn take_slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.slot).try_acquire_owned().map_err(|_| {
            let refusal =
                Refusal::new(RefusalKind::Busy, "another export or import is under way: try again in a moment");
            Refusal { retry_after_ms: Some(1_000), ..refusal }
        })
    }
}

/// `POST /admin/v1/export` with `{"sessions":["NAME or ID",…]}` or `{"sessions":"all"}`: the bundle. It has at most 256 MiB,
/// which is what a reader takes.
pub(crate) async fn export(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    match exported(lobby, request).await {
        Ok(bundle) => respond::text("application/octet-stream", bundle),
        Err(refused) => refuse(lobby, &refused),
    }
}

async fn exported(lobby: &Lobby, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let principal = lobby.grid.identify(doors::credential(request.headers()))?;
    let bus = bus(lobby)?;
    let asked = received(request, lobby.body_bytes_max).await?;
    let chosen = chosen(&in_memory(&asked).await?)?;
    let slot = lobby.backstage.carriage.take_slot()?;
    let made_unix_s = lobby.grid.unix_s();
    let carriage = Arc::clone(&lobby.backstage.carriage);
    let key = blocking(move || (carriage.key)().map_err(internal)).await?;
    let stamp = Stamp { issuer: node_name(&PublicKey::of(&key)), made_unix_s };
    let bundle = bus.export(&principal.name, &chosen, stamp).await?;
    let written = blocking(move || {
        let mut out = Vec::new();
        commonwatt_bundle::write(&bundle, &key, &mut out).map_err(|error| not_written(&error))?;
        Ok(out)
    });
    let written = written.await;
    drop(slot);
    written
}

/// A node is called by its key: names of machines are nobody's business.
fn node_name(key: &PublicKey) -> String {
    let digits: String = key.to_string().chars().skip("ed25519:".len()).take(8).collect();
    format!("commonwatt-{digits}")
}

fn chosen(asked: &[u8]) -> Result<Chosen, Refusal> {
    let wrong = || {
        let message = "say which sessions: `{\"sessions\":[\"NAME or ID\"]}`, or `{\"sessions\":\"all\"}`";
        Refusal::new(RefusalKind::BadRequest, message)
    };
    let asked: Value = serde_json::from_slice(asked).map_err(|_| wrong())?;
    match asked.get("sessions") {
        Some(Value::String(word)) if word == "all" => Ok(Chosen::All),
        Some(Value::Array(names)) if !names.is_empty() => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<_>>().map(Chosen::Named).ok_or_else(wrong)
        }
        Some(_) | None => Err(wrong()),
    }
}

fn not_written(error: &NotWritten) -> Refusal {
    match error {
        NotWritten::Bad(BadBundle { wrong: Wrong::TooLarge { .. }, .. }) => {
            Refusal::new(RefusalKind::TooLarge, format!("{error}: export fewer sessions at once"))
        }
        NotWritten::Bad(_) | NotWritten::Io(_) => internal(format!("the sessions make no bundle: {error}")),
    }
}

/// What an import is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Whatever it turns out to be.
    Auto,
    Bundle,
    Of(System),
}

impl Format {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(Self::Auto),
            "cwb" => Some(Self::Bundle),
            word => System::ALL.into_iter().find(|system| system.word() == word).map(Self::Of),
        }
    }
}

/// What is asked of an import beside its body.
struct Wanted {
    format: Format,
    /// The signer who is trusted from now on.
    trust: Option<PublicKey>,
}

impl Wanted {
    fn read(query: &str) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::new(RefusalKind::BadRequest, message);
        let param = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
            Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
        };
        let word = param("format").unwrap_or_else(|| "auto".to_owned());
        let format = Format::from_word(&word).ok_or_else(|| {
            let word: String = word.chars().take(40).collect();
            bad(format!("`{word}` is not a format: write `auto`, `cwb`, `chatgpt`, `claude` or `letta`"))
        })?;
        let trust = param("trust").map(|key| key.parse()).transpose();
        Ok(Self { format, trust: trust.map_err(|error: commonwatt_bundle::NotAPublicKey| bad(error.to_string()))? })
    }
}

/// `POST /admin/v1/import?format=auto&trust=KEY`, with a file as body: what came of each session in it.
pub(crate) async fn import(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    match imported(lobby, request).await {
        Ok(report) => send(&report),
        Err(refused) => refuse(lobby, &refused),
    }
}

async fn imported(lobby: &Lobby, request: Request<Incoming>) -> Result<Report, Refusal> {
    let principal = lobby.grid.identify(doors::credential(request.headers()))?;
    let bus = bus(lobby)?;
    let wanted = Wanted::read(request.uri().query().unwrap_or_default())?;
    let file = received(request, IMPORT_BYTES_MAX).await?;
    let carriage = Arc::clone(&lobby.backstage.carriage);
    let slot = carriage.take_slot()?;
    // From here on it is in memory.
    let file = in_memory(&file).await?;
    // A caller that leaves does not stop it half-way.
    let task = tokio::spawn(async move {
        let report = brought(bus, carriage, principal.name, file, wanted).await;
        drop(slot);
        report
    });
    task.await.map_err(|_| internal("the import broke off: import the file again"))?
}

async fn brought(
    bus: Arc<Bus>,
    carriage: Arc<Carriage>,
    principal: Arc<str>,
    file: Bytes,
    wanted: Wanted,
) -> Result<Report, Refusal> {
    let (reader, caller) = (Arc::clone(&bus), Arc::clone(&principal));
    match blocking(move || read(&reader, &carriage, &caller, &file, &wanted)).await? {
        Read::Bundle(opened) => {
            let Opened { bundle, signer } = *opened;
            let by = Signed { signer: signer.to_string(), node: cut(&bundle.issuer), made_unix_s: bundle.made_unix_s };
            let sessions = bus.import(&principal, bundle).await?;
            Ok(Report::of("cwb", Some(by), sessions, Vec::new()))
        }
        Read::Export(system, Imported { sessions, mut skipped }) => {
            let mute = sessions.iter().filter(|session| session.turns.is_empty()).count();
            if mute > 0 {
                skipped.push(format!("conversations in which nothing was said ({mute})"));
            }
            let sessions = bus.import_foreign(&principal, system, sessions).await?;
            Ok(Report::of(system.word(), None, sessions, skipped))
        }
    }
}

/// A file that was read and is in order.
enum Read {
    Bundle(Box<Opened>),
    Export(System, Imported),
}

fn read(bus: &Bus, carriage: &Carriage, principal: &str, file: &[u8], wanted: &Wanted) -> Result<Read, Refusal> {
    match wanted.format {
        Format::Bundle => opened(carriage, principal, file, wanted.trust),
        Format::Auto if is_tar(file) => opened(carriage, principal, file, wanted.trust),
        Format::Of(system) => match read_export(bus, system, file) {
            Ok(imported) => Ok(Read::Export(system, imported)),
            Err(error) => Err(bad_import(&error)),
        },
        Format::Auto => {
            for system in System::ALL {
                match read_export(bus, system, file) {
                    Ok(imported) => return Ok(Read::Export(system, imported)),
                    Err(BadImport::NotThis(..)) => {}
                    Err(error @ (BadImport::Archive(_) | BadImport::TooLarge)) => return Err(bad_import(&error)),
                }
            }
            let message =
                "this is neither a bundle nor an export of ChatGPT, Claude or Letta: say `format=…` to learn why";
            Err(Refusal::new(RefusalKind::BadRequest, message))
        }
    }
}

fn read_export(bus: &Bus, system: System, file: &[u8]) -> Result<Imported, BadImport> {
    let salts = &mut || bus.salt();
    match system {
        System::ChatGpt => chatgpt::read(file, salts),
        System::Claude => claude::read(file, salts),
        System::Letta => letta::read(file, salts),
    }
}

/// POSIX's archives say so at a fixed place.
fn is_tar(file: &[u8]) -> bool {
    file.get(257..262) == Some(b"ustar")
}

/// A bundle by somebody whom its caller trusts.
fn opened(carriage: &Carriage, principal: &str, file: &[u8], trust: Option<PublicKey>) -> Result<Read, Refusal> {
    let opened = commonwatt_bundle::read(file, &Limits::default(), trust.as_ref()).map_err(|bad| bad_bundle(&bad))?;
    let (signer, node) = (opened.signer, cut(&opened.bundle.issuer));
    if trust.is_some() {
        (carriage.trust)(principal, &signer, &node).map_err(internal)?;
    } else if !(carriage.knows)(principal, &signer).map_err(internal)? {
        let message = format!(
            "the bundle is signed by `{signer}`, which calls itself `{node}` and is not known here: if that is the key of \
             whoever gave it to you, import it with `--trust {signer}` (`trust=…`)"
        );
        return Err(Refusal::new(RefusalKind::Forbidden, message));
    }
    Ok(Read::Bundle(Box::new(opened)))
}

fn bad_bundle(bad: &BadBundle) -> Refusal {
    let kind =
        if matches!(bad.wrong, Wrong::TooLarge { .. }) { RefusalKind::TooLarge } else { RefusalKind::BadRequest };
    Refusal::new(kind, format!("the bundle is refused: {bad}"))
}

fn bad_import(error: &BadImport) -> Refusal {
    let kind = match error {
        BadImport::TooLarge => RefusalKind::TooLarge,
        BadImport::NotThis(..) | BadImport::Archive(_) => RefusalKind::BadRequest,
    };
    Refusal::new(kind, error.to_string())
}

/// A stranger's name, fit for a message.
fn cut(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

fn bus(lobby: &Lobby) -> Result<Arc<Bus>, Refusal> {
    lobby.grid.bus().cloned().ok_or_else(|| {
        Refusal::new(RefusalKind::NotCapable, "this daemon keeps no sessions: switch the bus on in its configuration")
    })
}

/// A body, on disk where it is large.
async fn received(request: Request<Incoming>, bytes_max: usize) -> Result<KeptBody, Refusal> {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    doors::keep(body, announced, bytes_max).await.map_err(|refused| {
        if refused.kind != RefusalKind::TooLarge {
            return refused;
        }
        let message = format!("the file is larger than {} MiB: bring it in parts", bytes_max >> 20);
        Refusal { message, ..refused }
    })
}

async fn in_memory(body: &KeptBody) -> Result<Bytes, Refusal> {
    body.bytes().await.map_err(|fault| internal(fault.message))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|_| internal("reading or writing the file broke off"))?
}

fn internal(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Internal, message)
}

/// What came of an import.
#[derive(Serialize)]
struct Report {
    format: &'static str,
    #[serde(flatten)]
    by: Option<Signed>,
    sessions: Vec<Line>,
    /// What could not be carried, each kind once.
    skipped: Vec<String>,
}

/// Who vouches for a bundle.
#[derive(Serialize)]
struct Signed {
    signer: String,
    node: String,
    made_unix_s: u64,
}

#[derive(Serialize)]
struct Line {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// `made`, `grown`, `unchanged`, `refused`.
    outcome: &'static str,
    turns_added: usize,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What of it was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
}

impl Report {
    fn of(format: &'static str, by: Option<Signed>, brought: Vec<Brought>, skipped: Vec<String>) -> Self {
        Self { format, by, sessions: brought.into_iter().map(Line::of).collect(), skipped }
    }
}

impl Line {
    fn of(brought: Brought) -> Self {
        let Brought { id, title, outcome, lost } = brought;
        let (outcome, turns_added, why) = match outcome {
            Outcome::Made(turns) => ("made", turns, None),
            Outcome::Grown(turns) => ("grown", turns, None),
            Outcome::Unchanged => ("unchanged", 0, None),
            Outcome::Refused(why) => ("refused", 0, Some(why)),
        };
        Self { id: id.to_string(), title, outcome, turns_added, why, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_or_some_are_chosen_and_nothing_else() {
        let named = Chosen::Named(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(chosen(br#"{"sessions":["a","b"]}"#).unwrap(), named);
        assert_eq!(chosen(br#"{"sessions":"all"}"#).unwrap(), Chosen::All);
        for wrong in ["", "{}", "[]", r#"{"sessions":[]}"#, r#"{"sessions":"a"}"#, r#"{"sessions":[1]}"#] {
            assert_eq!(chosen(wrong.as_bytes()).unwrap_err().kind, RefusalKind::BadRequest, "{wrong}");
        }
    }

    #[test]
    fn a_signers_key_may_be_escaped_in_the_address() {
        let key = format!("ed25519:{}", "ab".repeat(32));
        let trust = |query: &str| Wanted::read(query).map(|wanted| wanted.trust.map(|key| key.to_string()));
        assert_eq!(trust(&format!("format=cwb&trust={}", key.replace(':', "%3A"))).unwrap(), Some(key));
        assert_eq!(trust("format=cwb").unwrap(), None);
        assert!(trust("trust=me").is_err());
        assert!(Wanted::read("format=zip").is_err());
    }
}
