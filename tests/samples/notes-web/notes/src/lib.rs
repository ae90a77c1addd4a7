//! Notes, kept in memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a client sends.
#[derive(Debug, Clone, Deserialize)]
pub struct Draft {
    pub text: String,
}

/// What a client gets back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub id: u64,
    pub text: String,
}

/// All notes, by their number; numbers are never used again.
#[derive(Debug, Default)]
pub struct Notebook {
    notes: BTreeMap<u64, Note>,
    last: u64,
}

impl Notebook {
    /// Keeps a note; `None` when it has no text.
    pub fn add(&mut self, draft: Draft) -> Option<Note> {
        let text = draft.text.trim().to_owned();
        if text.is_empty() {
            return None;
        }
        self.last += 1;
        let note = Note {
            id: self.last,
            text,
        };
        self.notes.insert(note.id, note.clone());
        Some(note)
    }

    pub fn get(&self, id: u64) -> Option<&Note> {
        self.notes.get(&id)
    }

    /// All notes, oldest first.
    pub fn all(&self) -> Vec<Note> {
        self.notes.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_has_text() {
        let mut notebook = Notebook::default();
        assert_eq!(notebook.add(Draft { text: "  ".into() }), None);
        let note = notebook
            .add(Draft {
                text: " buy milk ".into(),
            })
            .unwrap();
        assert_eq!(notebook.get(note.id), Some(&note));
        assert_eq!(
            serde_json::to_string(&notebook.all()).unwrap(),
            r#"[{"id":1,"text":"buy milk"}]"#
        );
    }
}
