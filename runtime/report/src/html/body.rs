//! The sections of the page, and their titles for its navigation.

use crate::html::markup::Markup;

/// The sections that are being written.
#[derive(Debug, Default)]
pub struct Body {
    /// Their HTML.
    pub html: Markup,
    /// The ids and titles of the sections so far.
    pub titles: Vec<(&'static str, &'static str)>,
}

impl Body {
    /// Begins a section, and returns where its content goes. Its end is [`end`](Self::end).
    pub fn begin(&mut self, id: &'static str, title: &'static str) -> &mut Markup {
        self.titles.push((id, title));
        let heading = format!("{id}-title");
        self.html
            .open("section", &[("id", id), ("aria-labelledby", &heading)])
            .element("h2", &[("id", &heading)], title)
    }

    /// Ends a section.
    pub fn end(&mut self) {
        self.html.close();
    }
}
