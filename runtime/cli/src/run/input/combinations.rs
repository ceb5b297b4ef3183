//! Combines lists of inputs as GNU parallel does.
//!
//! Lists after `:::` give all combinations, and the last list varies fastest. A list after `:::+` is linked with the list before
//! it. Combinations are computed one by one. The first list may be a stream; the others are in memory.

use std::ffi::OsString;

use mpwasm::escape::Untrusted;

/// Separator before a list of inputs.
pub const SEPARATOR: &str = ":::";
/// Separator before a list that is linked with the one before it.
pub const LINKED_SEPARATOR: &str = ":::+";

/// A list of inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputList {
    /// Whether it is linked with the list before it: inputs at the same index belong together.
    pub linked: bool,
    /// Its inputs.
    pub inputs: Vec<String>,
}

impl InputList {
    /// Returns a list that is not linked.
    pub fn new(inputs: Vec<String>) -> Self {
        Self {
            linked: false,
            inputs,
        }
    }
}

/// Removes the lists of inputs from a command line. Inputs can begin with a dash, so clap must not parse them.
///
/// # Errors
/// When an input is not UTF-8.
pub fn split_listed(line: &mut Vec<OsString>) -> Result<Option<Vec<InputList>>, NotUtf8> {
    let is_separator = |word: &OsString| word == SEPARATOR || word == LINKED_SEPARATOR;
    let Some(at) = line.iter().position(is_separator) else {
        return Ok(None);
    };
    let mut lists: Vec<InputList> = Vec::new();
    for word in line.split_off(at) {
        let word = word.into_string().map_err(NotUtf8)?;
        match (word.as_str(), lists.last_mut()) {
            (SEPARATOR | LINKED_SEPARATOR, _) | (_, None) => lists.push(InputList {
                linked: word == LINKED_SEPARATOR,
                inputs: Vec::new(),
            }),
            (_, Some(list)) => list.inputs.push(word),
        }
    }
    Ok(Some(lists))
}

/// An input that cannot be an arg of a guest.
#[derive(Debug, thiserror::Error)]
#[error("the input {} is not UTF-8: args of guests are JSON strings", Untrusted::from(.0))]
pub struct NotUtf8(OsString);

/// The lists that are combined with each input of a first one.
#[derive(Clone, Debug, Default)]
pub struct Combinations {
    /// The lists that are linked with the first one.
    linked: Vec<Vec<String>>,
    groups: Vec<LinkedLists>,
}

/// Lists that are linked with one another.
#[derive(Clone, Debug)]
struct LinkedLists(Vec<Vec<String>>);

impl LinkedLists {
    /// The number of inputs of the shortest list.
    fn len(&self) -> usize {
        shortest(&self.0).unwrap_or(0)
    }
}

fn shortest(lists: &[Vec<String>]) -> Option<usize> {
    lists.iter().map(Vec::len).min()
}

impl Combinations {
    /// Returns the combinations of the lists after the first one, in their order.
    pub fn new(lists: impl IntoIterator<Item = InputList>) -> Self {
        let mut all = Self::default();
        for InputList { linked, inputs } in lists {
            match all.groups.last_mut() {
                Some(group) if linked => group.0.push(inputs),
                None if linked => all.linked.push(inputs),
                _ => all.groups.push(LinkedLists(vec![inputs])),
            }
        }
        all
    }

    /// Returns the number of lists, the first one included.
    pub fn lists(&self) -> usize {
        let grouped: usize = self.groups.iter().map(|group| group.0.len()).sum();
        1 + self.linked.len() + grouped
    }

    /// Returns the limit on inputs of the first list: the length of the shortest list that is linked with it.
    pub fn max_first(&self) -> u64 {
        shortest(&self.linked).map_or(u64::MAX, |most| most as u64)
    }

    /// Returns the number of combinations with each input of the first list.
    pub fn each(&self) -> u64 {
        let lengths = self.groups.iter().map(|group| group.len() as u64);
        lengths.fold(1, u64::saturating_mul)
    }

    /// Returns the number of combinations when the first list has `inputs` inputs.
    pub fn count(&self, inputs: u64) -> u64 {
        inputs.min(self.max_first()).saturating_mul(self.each())
    }

    /// Returns the combinations with the input of the first list at this index.
    pub fn of<'a>(&'a self, index: u64, first: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
        let count = if index < self.max_first() { self.each() } else { 0 };
        (0..count).map(move |number| self.combination(index, first, number))
    }

    fn combination<'a>(&'a self, index: u64, first: &'a str, mut number: u64) -> Vec<&'a str> {
        // The last list varies fastest: its index is the lowest digit of the number.
        let mut indices = Vec::with_capacity(self.groups.len());
        for group in self.groups.iter().rev() {
            let len = group.len() as u64;
            indices.push((number % len) as usize);
            number /= len;
        }
        let linked = self.linked.iter().map(|list| list[index as usize].as_str());
        let grouped = self.groups.iter().zip(indices.into_iter().rev());
        let grouped = grouped.flat_map(|(group, index)| group.0.iter().map(move |list| list[index].as_str()));
        std::iter::once(first).chain(linked).chain(grouped).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &str) -> (usize, Option<Vec<InputList>>) {
        let mut line: Vec<OsString> = words.split(' ').map(Into::into).collect();
        let lists = split_listed(&mut line).unwrap();
        (line.len(), lists)
    }

    fn lists(words: &str) -> Vec<InputList> {
        split(words).1.unwrap()
    }

    /// The combinations of these lists.
    fn all(words: &str) -> String {
        let mut lists = lists(words).into_iter();
        let first = lists.next().unwrap();
        let rest = Combinations::new(lists);
        let of = |(index, first)| rest.of(index, first).map(|one| one.concat()).collect::<Vec<_>>();
        let inputs = first.inputs.iter().map(String::as_str);
        (0..).zip(inputs).flat_map(of).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_after_the_separator_are_no_options() {
        assert_eq!(split("run g"), (2, None));
        assert_eq!(split("run g ::: -a --size").0, 2);
        assert_eq!(lists("::: -a --size")[0].inputs, ["-a", "--size"]);
        assert_eq!(lists("g :::"), [InputList::default()]);
        let several = lists("::: a b ::: :::+ c");
        let linked: Vec<_> = several
            .iter()
            .map(|list| (list.linked, list.inputs.len()))
            .collect();
        assert_eq!(linked, [(false, 2), (false, 0), (true, 1)]);
    }

    #[test]
    fn the_last_list_varies_fastest() {
        assert_eq!(all("::: a b ::: 1 2"), "a1 a2 b1 b2");
        assert_eq!(all("::: a b ::: 1 2 ::: X Y"), "a1X a1Y a2X a2Y b1X b1Y b2X b2Y");
        assert_eq!(all("::: a"), "a");
        assert_eq!(all("::: a b :::"), "", "there is no combination with nothing");
    }

    #[test]
    fn linked_lists_go_together_as_far_as_the_shortest() {
        assert_eq!(
            all("::: a b c :::+ 1 2 3 ::: X Y :::+ 11 22"),
            "a1X11 a1Y22 b2X11 b2Y22 c3X11 c3Y22"
        );
        assert_eq!(all("::: a b c :::+ 1 2"), "a1 b2");
        assert_eq!(all("::: a :::+ 1 2 :::+ x y"), "a1x");
        assert_eq!(all("::: a b ::: 1 2 3 :::+ x y"), "a1x a2y b1x b2y");
    }

    #[test]
    fn more_combinations_than_can_be_counted_are_made_one_by_one() {
        let list = InputList::new((0..100_000).map(|number| number.to_string()).collect());
        let rest = Combinations::new([list.clone(), list.clone(), list.clone(), list]);
        assert_eq!((rest.each(), rest.lists()), (u64::MAX, 5));
        let second = rest.of(0, "a").nth(1).unwrap();
        assert_eq!(second, ["a", "0", "0", "0", "1"]);
    }
}
