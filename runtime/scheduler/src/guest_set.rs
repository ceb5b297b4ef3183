//! A set of guests, one bit each.

use mpwasm_types::ids::GuestId;

/// A set of guests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GuestSet {
    /// One bit per guest.
    words: Vec<u64>,
    len: usize,
}

impl GuestSet {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn contains(&self, guest: GuestId) -> bool {
        let word = self.words.get(guest.index() / 64);
        word.is_some_and(|word| word >> (guest.0 % 64) & 1 == 1)
    }

    /// Adds a guest. Returns whether it was new.
    pub fn insert(&mut self, guest: GuestId) -> bool {
        let index = guest.index() / 64;
        if self.words.len() <= index {
            self.words.resize(index + 1, 0);
        }
        let bit = 1 << (guest.0 % 64);
        let is_new = self.words[index] & bit == 0;
        self.words[index] |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Returns whether no guest is in both sets.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .all(|(one, two)| one & two == 0)
    }

    /// Adds all guests of another set.
    pub fn extend(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }
}

impl FromIterator<GuestId> for GuestSet {
    fn from_iter<I: IntoIterator<Item = GuestId>>(guests: I) -> Self {
        let mut set = Self::default();
        for guest in guests {
            set.insert(guest);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let mut set: GuestSet = [0, 63, 64, 999, 63].into_iter().map(GuestId).collect();
        assert_eq!(set.len(), 4);
        assert!([0, 63, 64, 999].iter().all(|&guest| set.contains(GuestId(guest))));
        assert!(
            [1, 62, 65, 998, 1000, u32::MAX]
                .iter()
                .all(|&guest| !set.contains(GuestId(guest)))
        );
        set.extend(&[1, 64, 2000].into_iter().map(GuestId).collect());
        assert_eq!(set.len(), 6);
        assert!(set.contains(GuestId(2000)));
    }
}
