//! A terminal with a program in it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Patience with a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The terminal: what is typed goes in, what would be seen comes out.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    shown: Receiver<Vec<u8>>,
    /// What was shown and not waited for yet.
    text: String,
}

impl Terminal {
    /// Runs a program in a terminal that is so many columns wide.
    pub(crate) fn run(command: &mut Command, columns: u16) -> Self {
        let outside = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&outside).expect("a terminal");
        unlockpt(&outside).expect("a terminal");
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&outside, size).expect("a terminal");
        let name = ptsname(&outside, Vec::new()).expect("a name").into_string().expect("text");
        let inside = OpenOptions::new().read(true).write(true).open(name).expect("its other end");
        let end = || inside.try_clone().expect("a terminal");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("it starts");
        let keys = File::from(outside);
        let mut screen = keys.try_clone().expect("a terminal");
        let (send, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(count) = screen.read(&mut buffer) {
                if count == 0 || send.send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, shown, text: String::new() }
    }

    /// Types a line, as soon as the program is ready for one.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.type_after("> ", line);
    }

    /// Types a line after what asks for it.
    pub(crate) fn type_after(&mut self, prompt: &str, line: &str) {
        self.wait_for(prompt);
        self.keys.write_all(format!("{line}\r").as_bytes()).expect("it reads");
    }

    /// Waits until the text is shown.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(wanted) {
                self.text.drain(..at + wanted.len());
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{wanted}` is not shown, but {:?}", self.text),
            }
        }
    }

    /// Waits for the end of the program.
    pub(crate) fn code(mut self) -> i32 {
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A program that has ended cannot be killed, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
