//! The node key: 32 bytes that open the store. Where it comes from, and what it is never shown in.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, new_key};

/// Bytes read from a key's file or command: a key in any spelling has less than a hundred.
const READ_BYTES_MAX: u64 = 4_096;

/// How long a command may take to print the key: the daemon does not start before.
const COMMAND_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the command has ended, once it has closed its output.
const COMMAND_PAUSE: Duration = Duration::from_millis(5);

/// The key that seals each session's key. Not printable; overwritten when dropped.
#[derive(Clone)]
pub struct NodeKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(…)")
    }
}

/// Why there is no node key. Never says what was found in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeKeyError {
    /// The file can be read by others.
    #[error("the node key `{}` may be read by others (mode {mode:04o}): run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("`{}` is no node key: 64 hexadecimal digits, or 32 bytes in base64", .0.display())]
    NotAKeyFile(PathBuf),
    /// The file cannot be read or made.
    #[error("the node key `{}` cannot be read or made: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// In the system's words.
        what: String,
    },
    /// The command cannot be run.
    #[error("the command `{program}` for the node key cannot be run: {what}")]
    Command {
        /// Its first word.
        program: String,
        /// In the system's words.
        what: String,
    },
    /// The command ended with a failure.
    #[error("the command `{program}` for the node key failed ({status})")]
    CommandFailed {
        /// Its first word.
        program: String,
        /// How it ended.
        status: String,
    },
    /// The command took too long.
    #[error("the command `{program}` for the node key did not end within {} seconds", COMMAND_PATIENCE.as_secs())]
    CommandTooSlow {
        /// Its first word.
        program: String,
    },
    /// The command printed something else.
    #[error("the command `{program}` printed no node key: 64 hexadecimal digits, or 32 bytes in base64")]
    CommandPrintedNoKey {
        /// Its first word.
        program: String,
    },
    /// There is no command.
    #[error("the command for the node key is empty")]
    NoCommand,
    /// The system has no randomness to make a key of.
    #[error("the system has no randomness to make a node key of")]
    NoRandomness,
}

impl NodeKey {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key in a file: 64 hexadecimal digits, base64, or the bare 32 bytes. An absent file is made, with a random
    /// key and readable by its owner only; a file that others may read is refused.
    ///
    /// # Errors
    /// See [`NodeKeyError`].
    pub fn from_file(path: &Path) -> Result<Self, NodeKeyError> {
        let failed = |error: std::io::Error| NodeKeyError::File { path: path.into(), what: error.kind().to_string() };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = new_key().map_err(|_| NodeKeyError::NoRandomness)?;
                make_file(path, &Self(key)).map_err(failed)?;
                File::open(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(NodeKeyError::Exposed { path: path.into(), mode });
        }
        let text = read(file).map_err(failed)?;
        let bare = <[u8; KEY_BYTES]>::try_from(text.as_slice()).ok().map(Self::new);
        bare.or_else(|| Self::parse(&text)).ok_or_else(|| NodeKeyError::NotAKeyFile(path.into()))
    }

    /// The key that a command prints (64 hexadecimal digits or base64), for a key-management service or a safe. The
    /// command is run as it is, without a shell; what it says on its standard error goes to the daemon's.
    ///
    /// # Errors
    /// See [`NodeKeyError`].
    pub fn from_command(argv: &[String]) -> Result<Self, NodeKeyError> {
        let (program, arguments) = argv.split_first().ok_or(NodeKeyError::NoCommand)?;
        let failed =
            |error: std::io::Error| NodeKeyError::Command { program: program.clone(), what: error.kind().to_string() };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let Some(printed) = printed_in_time(&mut child) else {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(NodeKeyError::CommandTooSlow { program: program.clone() });
        };
        let printed = printed.map_err(failed)?;
        let Some(status) = ended_in_time(&mut child).map_err(failed)? else {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(NodeKeyError::CommandTooSlow { program: program.clone() });
        };
        if !status.success() {
            return Err(NodeKeyError::CommandFailed { program: program.clone(), status: status.to_string() });
        }
        Self::parse(&printed).ok_or_else(|| NodeKeyError::CommandPrintedNoKey { program: program.clone() })
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        if text.len() == 2 * KEY_BYTES {
            return from_hex(text).map(Self);
        }
        [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|spelling| {
            let bytes = Zeroizing::new(spelling.decode(text).ok()?);
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok().map(Self::new)
        })
    }
}

fn from_hex(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let mut digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
        *byte = u8::try_from((digits.next()?? << 4) | digits.next()??).ok()?;
    }
    Some(key)
}

/// Writes the key beside its place and links it there, so that nobody finds half a key, and the first of two wins.
fn make_file(path: &Path, key: &NodeKey) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
    for byte in key.bytes() {
        text.push_str(&Zeroizing::new(format!("{byte:02x}")));
    }
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let linked = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    });
    fs::remove_file(&beside)?;
    linked?;
    crate::file::sync_folder_of(path)
}

/// What the command printed, or nothing when its time is over.
fn printed_in_time(child: &mut Child) -> Option<std::io::Result<Zeroizing<Vec<u8>>>> {
    let output = child.stdout.take()?;
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || tell.send(read(output)));
    told.recv_timeout(COMMAND_PATIENCE).ok()
}

/// How the command ended, or nothing when its time is over: it may close its output and live on.
fn ended_in_time(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let (_tell, never) = mpsc::sync_channel::<()>(0);
    let mut left = COMMAND_PATIENCE;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || left.is_zero() {
            return Ok(status);
        }
        // Nobody tells anything: this is a pause.
        let _ = never.recv_timeout(COMMAND_PAUSE);
        left = left.saturating_sub(COMMAND_PAUSE);
    }
}

fn read(from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(READ_BYTES_MAX as usize));
    from.take(READ_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
