//! Writes HTML elements, whose text can't be markup.

use std::borrow::Cow;
use std::fmt::Write as _;

use mpwasm_types::escape::escape;

/// Elements without content.
const VOID: [&str; 3] = ["meta", "br", "rect"];

/// HTML that is being written. Every text is escaped, and every element is closed: the page is well-formed XML too.
#[derive(Debug, Default)]
pub struct Markup {
    html: String,
    open: Vec<&'static str>,
}

/// The name and the value of an attribute.
pub type Attribute<'a> = (&'static str, &'a str);

impl Markup {
    /// Begins an element.
    pub fn open(&mut self, element: &'static str, attributes: &[Attribute<'_>]) -> &mut Self {
        let is_void = VOID.contains(&element);
        self.html.push('<');
        self.html += element;
        for (name, value) in attributes {
            let _ = write!(self.html, " {name}=\"{}\"", escaped(value));
        }
        self.html += if is_void { "/>" } else { ">" };
        if !is_void {
            self.open.push(element);
        }
        self
    }

    /// Ends the element that was begun last.
    pub fn close(&mut self) -> &mut Self {
        if let Some(element) = self.open.pop() {
            let _ = write!(self.html, "</{element}>");
            if matches!(
                element,
                "p" | "tr" | "section" | "table" | "dd" | "script" | "style" | "li" | "head"
            ) {
                self.html.push('\n');
            }
        }
        self
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.html += &escaped(text);
        self
    }

    /// Adds text of others. Its direction does not affect what is around it.
    pub fn foreign(&mut self, text: &str) -> &mut Self {
        self.element("bdi", &[], text)
    }

    /// Adds an element with text.
    pub fn element(&mut self, element: &'static str, attributes: &[Attribute<'_>], text: &str) -> &mut Self {
        self.open(element, attributes).text(text).close()
    }

    /// Adds an element with a script or style of this crate, or with JSON in which `<` is escaped.
    pub fn code(&mut self, element: &'static str, attributes: &[Attribute<'_>], code: &str) -> &mut Self {
        debug_assert!(!code.contains("</"), "it would end the element");
        self.open(element, attributes);
        self.html += code;
        self.close()
    }

    /// Adds other HTML.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.html += &other.finish();
        self
    }

    /// Returns the HTML.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.html
    }
}

/// Returns text in which nothing is markup, no character is invisible or changes the direction of others, and each character can
/// be in a document.
fn escaped(text: &str) -> Cow<'_, str> {
    let visible = escape(text);
    if !visible.contains(|c| matches!(c, '&' | '<' | '>' | '"' | '\'') || is_noncharacter(c)) {
        return visible;
    }
    let mut escaped = String::with_capacity(visible.len() + 16);
    for c in visible.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if is_noncharacter(c) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a code point is not a character, and so can't be in a document.
fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_can_not_be_markup() {
        let mut markup = Markup::default();
        let hostile = "</p><script>\"'&amp;\u{202e}\0\u{fffe}\u{10ffff}\n";
        markup.element("p", &[("title", hostile)], hostile);
        let shown = r"&lt;/p&gt;&lt;script&gt;&quot;&#39;&amp;amp;\u{202e}\u{0}\u{fffe}\u{10ffff}\n";
        assert_eq!(markup.finish(), format!("<p title=\"{shown}\">{shown}</p>\n"));
    }

    #[test]
    fn every_element_is_closed() {
        let mut markup = Markup::default();
        markup
            .open("ul", &[])
            .open("li", &[])
            .foreign("a")
            .open("br", &[]);
        assert_eq!(markup.finish(), "<ul><li><bdi>a</bdi><br/></li>\n</ul>");
    }
}
