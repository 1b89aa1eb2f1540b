//! What was lost in translation, named.

/// Notes, each once.
#[derive(Debug, Default)]
pub(super) struct Lossy {
    notes: Vec<String>,
}

/// Notes are for a response header and a log line: more than this says no more.
const NOTES_MAX: usize = 32;
/// A note is a field name and a few words.
const NOTE_CHARS_MAX: usize = 96;

impl Lossy {
    /// Notes a field that is dropped or changed.
    pub(super) fn note(&mut self, what: impl AsRef<str>) {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let note: String = what.as_ref().chars().take(NOTE_CHARS_MAX).map(printable).collect();
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
    }
}
