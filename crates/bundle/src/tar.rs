//! The archive: POSIX `ustar` with regular files only, and one way to write each of them.
//!
//! ```text
//! header (512 bytes) · the file · zeros up to a multiple of 512 · … · 1024 zeros
//! ```
//!
//! A header is a function of name and length: mode 0644, no owner, time 0. So a reader need not interpret one: it makes the
//! header that has to be there and compares. Whatever else tar can say (links, folders, devices, long names) cannot get in.

use std::io::{self, Read, Write};

use crate::bad::{BadBundle, Wrong};

const BLOCK: usize = 512;

/// How the place behind the last file is called in a refusal.
pub(crate) const END: &str = "the end";

/// The header of a file. Names have 100 bytes at most: the longest of a bundle, of a blob, has 77.
pub(crate) fn header(name: &str, bytes: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, field: &[u8]| {
        for (into, byte) in block.iter_mut().skip(at).zip(field) {
            *into = *byte;
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{bytes:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum = checksum(&block);
    for (into, byte) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *into = byte;
    }
    block
}

/// The sum of a header's bytes, its own field taken as blanks.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum()
}

/// Writes one file.
pub(crate) fn put(out: &mut impl Write, name: &str, file: &[u8]) -> io::Result<()> {
    out.write_all(&header(name, file.len() as u64))?;
    out.write_all(file)?;
    out.write_all(padding_of(file.len() as u64))
}

/// Writes the end.
pub(crate) fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])?;
    out.flush()
}

fn padding_of(bytes: u64) -> &'static [u8] {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let over = (bytes % BLOCK as u64) as usize;
    ZEROS.get(over..).filter(|_| over > 0).unwrap_or_default()
}

/// Reads an archive from its beginning, file by file.
pub(crate) struct Reader<R> {
    source: R,
}

/// A header as a stranger wrote it.
struct Found {
    name: String,
    bytes: u64,
    block: [u8; BLOCK],
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source }
    }

    /// The next file, which must have this name; its length is not known yet.
    pub(crate) fn first(&mut self, name: &str, what: &'static str, limit: u64) -> Result<Vec<u8>, BadBundle> {
        let found = self.header(name)?.ok_or_else(|| BadBundle::new(name, Wrong::Missing))?;
        if found.name != name {
            return Err(BadBundle::new(name, Wrong::Missing));
        }
        if found.bytes > limit {
            return Err(BadBundle::new(name, Wrong::TooLarge { what, limit }));
        }
        self.file(&found, name, found.bytes)
    }

    /// The next file, which must have this name and length. `is_later` says whether a name is still to come.
    pub(crate) fn next(
        &mut self,
        name: &str,
        bytes: u64,
        is_later: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<u8>, BadBundle> {
        let found = self.header(name)?.ok_or_else(|| BadBundle::new(name, Wrong::Missing))?;
        if found.name != name {
            let missing = is_later(&found.name);
            return Err(if missing { BadBundle::new(name, Wrong::Missing) } else { stranger(&found.name) });
        }
        self.file(&found, name, bytes)
    }

    /// The end, and nothing behind it.
    pub(crate) fn end(&mut self) -> Result<(), BadBundle> {
        if let Some(found) = self.header(END)? {
            return Err(stranger(&found.name));
        }
        let mut rest = Vec::new();
        self.take(&mut rest, BLOCK as u64 + 1, END)?;
        match rest.len() {
            BLOCK if rest.iter().all(|byte| *byte == 0) => Ok(()),
            short if short < BLOCK => Err(BadBundle::new(END, Wrong::CutShort)),
            _ => Err(BadBundle::new(END, Wrong::Padding)),
        }
    }

    /// The next header; `None` for a block of zeros. `expected` is the file of which a damaged one is told.
    fn header(&mut self, expected: &str) -> Result<Option<Found>, BadBundle> {
        let mut read = Vec::new();
        self.take(&mut read, BLOCK as u64, expected)?;
        let Ok(block) = <[u8; BLOCK]>::try_from(read) else {
            return Err(BadBundle::new(expected, Wrong::CutShort));
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let damaged = || BadBundle::new(expected, Wrong::Header);
        let (name, rest) = block.split_at(100);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let bytes = rest.get(24..35).and_then(octal).ok_or_else(damaged)?;
        let sum = block.get(148..154).and_then(octal).ok_or_else(damaged)?;
        if sum != u64::from(checksum(&block)) {
            return Err(damaged());
        }
        Ok(Some(Found { name, bytes, block }))
    }

    fn file(&mut self, found: &Found, name: &str, bytes: u64) -> Result<Vec<u8>, BadBundle> {
        if found.block != header(name, bytes) {
            return Err(BadBundle::new(name, Wrong::Header));
        }
        let mut file = Vec::new();
        self.take(&mut file, bytes, name)?;
        if file.len() as u64 != bytes {
            return Err(BadBundle::new(name, Wrong::CutShort));
        }
        let zeros = padding_of(bytes);
        let mut padding = Vec::new();
        self.take(&mut padding, zeros.len() as u64, name)?;
        match padding.len() {
            short if short < zeros.len() => Err(BadBundle::new(name, Wrong::CutShort)),
            _ if padding != zeros => Err(BadBundle::new(name, Wrong::Padding)),
            _ => Ok(file),
        }
    }

    /// Up to so many bytes. Memory grows with what comes, not with what was promised.
    fn take(&mut self, into: &mut Vec<u8>, bytes: u64, file: &str) -> Result<(), BadBundle> {
        let unreadable = |error: io::Error| BadBundle::new(file, Wrong::Unreadable(error.kind()));
        self.source.by_ref().take(bytes).read_to_end(into).map(|_| ()).map_err(unreadable)
    }
}

fn octal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// A file that nobody expected.
fn stranger(name: &str) -> BadBundle {
    let leads_out = name.starts_with('/') || name.contains('\\') || name.split('/').any(|step| step == "..");
    BadBundle::new(name, if leads_out { Wrong::Name } else { Wrong::Extra })
}
