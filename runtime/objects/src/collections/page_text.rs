//! Pages in which the contents of a dict are listed.

use crate::json::Json;

/// Size from which on nothing is added to a page: 1 MiB, so that a list of many pages does not keep other requests waiting.
const FULL: usize = 1 << 20;

/// The text of a page: `{"page":[...],"next":17}`. `next` is the cursor with which the next page is requested, and `null` where there
/// is none.
#[derive(Debug)]
pub struct PageText {
    json: String,
    max: u32,
    count: u32,
    last: u64,
    is_cut: bool,
}

impl PageText {
    /// Creates an empty page for at most `max` items.
    pub fn new(max: u32) -> Self {
        Self {
            json: r#"{"page":["#.to_owned(),
            max,
            count: 0,
            last: 0,
            is_cut: false,
        }
    }

    /// Adds an item with its number, which is larger than those before it. Returns whether there was room; the first item
    /// always fits.
    pub fn push(&mut self, number: u64, item: &str) -> bool {
        let has_room = self.count < self.max && self.json.len() + item.len() < FULL;
        if self.count > 0 && !has_room {
            self.is_cut = true;
            return false;
        }
        if self.count > 0 {
            self.json.push(',');
        }
        self.json.push_str(item);
        self.count += 1;
        self.last = number;
        true
    }

    /// Returns the text.
    pub fn finish(mut self) -> Json {
        let next = match self.is_cut {
            true => self.last.to_string(),
            false => "null".to_owned(),
        };
        self.json.push_str("],\"next\":");
        self.json.push_str(&next);
        self.json.push('}');
        Json::from_valid(self.json)
    }
}
