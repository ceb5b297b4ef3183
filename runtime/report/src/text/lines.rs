//! Writes lines of at most 80 columns.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use mpwasm_types::escape::escape;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Most columns of a line.
pub const COLUMNS: usize = 80;

/// How a part of a line is shown where colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    Plain,
    /// A title.
    Title,
    /// Something that succeeded.
    Good,
    /// Something that failed.
    Bad,
}

/// Writes lines. All text is escaped, and cut where the line ends.
#[derive(Debug)]
pub struct Lines<W> {
    writer: W,
    has_colours: bool,
    line: String,
    width: usize,
}

impl<W: Write> Lines<W> {
    /// Returns a writer of lines with or without colours.
    pub fn new(writer: W, has_colours: bool) -> Self {
        Self {
            writer,
            has_colours,
            line: String::new(),
            width: 0,
        }
    }

    /// Adds text to the current line.
    pub fn add(&mut self, look: Look, text: &str) -> &mut Self {
        let text = escape(text);
        let text = cut(&text, COLUMNS.saturating_sub(self.width));
        self.width += text.width();
        let style = match look {
            Look::Plain => Style::new(),
            Look::Title => Style::new().bold(),
            Look::Good => AnsiColor::Green.on_default(),
            Look::Bad => AnsiColor::Red.on_default(),
        };
        if self.has_colours && !text.is_empty() {
            self.line += &format!("{style}{text}{style:#}");
        } else {
            self.line += &text;
        }
        self
    }

    /// Adds text that is filled with spaces to a width, on its right side.
    pub fn left(&mut self, look: Look, width: usize, text: &str) -> &mut Self {
        let spaces = " ".repeat(width.saturating_sub(escape(text).width()));
        self.add(look, text).add(Look::Plain, &spaces)
    }

    /// Adds text that is filled with spaces to a width, on its left side.
    pub fn right(&mut self, look: Look, width: usize, text: &str) -> &mut Self {
        let spaces = " ".repeat(width.saturating_sub(escape(text).width()));
        self.add(Look::Plain, &spaces).add(look, text)
    }

    /// Writes the current line.
    pub fn end(&mut self) -> io::Result<()> {
        let line = self.line.trim_end_matches(' ');
        writeln!(self.writer, "{line}")?;
        self.line.clear();
        self.width = 0;
        Ok(())
    }

    /// Writes an empty line and a title.
    pub fn title(&mut self, text: &str) -> io::Result<()> {
        self.end()?;
        self.add(Look::Title, text).end()
    }
}

/// Returns the first characters of a text, with `…` in the last column if some are left out.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut width = 0;
    let kept = text.chars().take_while(|c| {
        width += c.width().unwrap_or(0);
        width < columns
    });
    let mut kept: String = kept.collect();
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(has_colours: bool, write: impl FnOnce(&mut Lines<&mut Vec<u8>>)) -> String {
        let mut bytes = Vec::new();
        let mut lines = Lines::new(&mut bytes, has_colours);
        write(&mut lines);
        lines.end().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_ends_at_the_last_column_whatever_its_characters_are() {
        for text in [
            "x".repeat(81),
            "東".repeat(50),
            "\u{1b}[2J".repeat(30),
            "a\u{301}".repeat(90),
        ] {
            let line = written(false, |lines| {
                lines.add(Look::Bad, "12").add(Look::Bad, &text);
            });
            let line = line.trim_end();
            assert!((79..=80).contains(&line.width()) && line.ends_with('…'), "{line}");
            assert!(!line.contains('\u{1b}'), "{line:?}");
        }
    }

    #[test]
    fn colours_take_no_columns() {
        let plain = written(false, |lines| {
            lines.right(Look::Good, 5, "ok").left(Look::Plain, 4, "x");
        });
        assert_eq!(plain, "   okx\n");
        let coloured = written(true, |lines| {
            lines.right(Look::Good, 5, "ok");
        });
        assert!(coloured.contains("\u{1b}[32mok\u{1b}[0m"), "{coloured:?}");
    }
}
