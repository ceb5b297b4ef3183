//! Which guests were used last.

use mpwasm_types::ids::GuestId;

/// Number of latest tasks whose guests count as recently used: about as many as wait in the dispatcher.
pub(super) const RECENT_TASKS: u64 = 1024;

/// Remembers when each guest was last used, counted in accepted tasks.
#[derive(Debug, Default)]
pub(super) struct Recency {
    /// By guest: the number of accepted tasks up to its last one. 0 if it was not used.
    last: Vec<u64>,
    accepted: u64,
}

impl Recency {
    /// Records that a task of this guest was accepted.
    pub fn note(&mut self, guest: GuestId) {
        self.accepted += 1;
        let index = guest.index();
        if self.last.len() <= index {
            self.last.resize(index + 1, 0);
        }
        self.last[index] = self.accepted;
    }

    /// Returns the guests of the last [`RECENT_TASKS`] tasks, the most recent first.
    pub fn latest(&self) -> impl Iterator<Item = GuestId> + use<> {
        let since = self.accepted.saturating_sub(RECENT_TASKS);
        let used = (0..)
            .map(GuestId)
            .zip(&self.last)
            .filter(|&(_, &last)| last > since);
        let mut guests: Vec<(GuestId, u64)> = used.map(|(guest, &last)| (guest, last)).collect();
        guests.sort_unstable_by_key(|&(_, last)| std::cmp::Reverse(last));
        guests.into_iter().map(|(guest, _)| guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_of_the_last_tasks_are_recent_and_the_last_one_comes_first() {
        let mut recency = Recency::default();
        assert_eq!(recency.latest().next(), None);
        [7, 3, 7, 1]
            .into_iter()
            .for_each(|guest| recency.note(GuestId(guest)));
        assert_eq!(recency.latest().collect::<Vec<_>>(), [1, 7, 3].map(GuestId));
        (1..RECENT_TASKS).for_each(|_| recency.note(GuestId(0)));
        assert_eq!(recency.latest().collect::<Vec<_>>(), [0, 1].map(GuestId));
    }
}
