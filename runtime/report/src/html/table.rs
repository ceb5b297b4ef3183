//! Writes tables.

use crate::html::markup::Markup;

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Words.
    Text,
    /// Numbers, on the right side.
    Number,
    /// Bars.
    Bar,
}

/// Begins a table with a caption and a row of headings. It is closed by [`end`].
///
/// A wide table can be scrolled by itself on narrow screens, also with the keyboard.
pub fn begin(html: &mut Markup, caption: &str, is_wide: bool, columns: &[(&str, Column)]) {
    if is_wide {
        html.open(
            "div",
            &[
                ("class", "scroll"),
                ("role", "region"),
                ("aria-label", caption),
                ("tabindex", "0"),
            ],
        );
    } else {
        html.open("div", &[("class", "table")]);
    }
    html.open("table", &[]).element("caption", &[], caption);
    html.open("thead", &[]).open("tr", &[]);
    for (name, column) in columns {
        match column {
            Column::Text => html.element("th", &[("scope", "col")], name),
            Column::Number => html.element("th", &[("scope", "col"), ("class", "number")], name),
            Column::Bar => html.element("td", &[], ""),
        };
    }
    html.close().close().open("tbody", &[]);
}

/// Ends a table.
pub fn end(html: &mut Markup) {
    html.close().close().close();
}

/// Adds the cell that names its row.
pub fn heading(html: &mut Markup, text: &str) {
    html.element("th", &[("scope", "row")], text);
}

/// Adds a cell with a number.
pub fn number(html: &mut Markup, text: &str) {
    html.element("td", &[("class", "number")], text);
}

/// Adds a cell with a bar, of which a part failed. Both are parts of the whole width, from 0 to 1. The numbers are in other cells.
pub fn bar(html: &mut Markup, whole: f64, failed: f64) {
    html.open("td", &[("class", "bar")]);
    html.open(
        "svg",
        &[("aria-hidden", "true"), ("width", "100%"), ("height", "12")],
    );
    // A part that is not zero can be seen.
    let percent = |part: f64| {
        if part > 0.0 {
            (part * 100.0).clamp(0.5, 100.0)
        } else {
            0.0
        }
    };
    let (whole, failed) = (percent(whole), percent(failed));
    let good = (whole - failed).max(0.0);
    for (class, x, width) in [("good", 0.0, good), ("bad", good, failed)] {
        if width > 0.0 {
            let (x, width) = (format!("{x:.1}%"), format!("{width:.1}%"));
            html.open(
                "rect",
                &[("class", class), ("x", &x), ("width", &width), ("height", "12")],
            );
        }
    }
    html.close().close();
}
