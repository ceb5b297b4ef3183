//! Creates objects.

use mpwasm_types::objects::{ObjectError, ObjectErrorKind, ObjectId, ObjectSpec, Token};

use super::objects::{ObjectEntry, Objects};
use crate::bounds::{MAX_OBJECTS, OBJECT_OVERHEAD};
use crate::channels::Side;
use crate::message::Effects;
use crate::object::ObjectState;

impl Objects {
    /// Creates an object. Returns its token, or one for each end of a pipe.
    pub(super) fn create(
        &mut self,
        label: &str,
        spec: ObjectSpec,
        effects: &mut dyn Effects,
    ) -> Result<Vec<Token>, ObjectError> {
        let chosen = format!("{}-{}", spec.kind(), self.next_object_id());
        let label = if label.is_empty() { &chosen } else { label };
        let error = |kind, detail: &str| {
            ObjectError::new(kind, label, "create")
                .on(spec.kind())
                .with_detail(detail)
        };
        let sides: &[Side] = match spec {
            ObjectSpec::Pipe { .. } => &[Side::First, Side::Second],
            _ => &[Side::First],
        };
        if self.directory.len() + sides.len() > MAX_OBJECTS {
            let detail = format!("at most {MAX_OBJECTS} objects are allowed");
            return Err(error(ObjectErrorKind::OutOfMemory, &detail));
        }
        let cost = spec.number_memory() + sides.len() as u64 * entry_cost(label);
        self.budget
            .take(cost)
            .map_err(|full| error(full.kind, &full.detail))?;
        let home = self.new_object_id();
        if spec.numbers().is_some() && !effects.create_numbers(home, spec) {
            self.budget.give_back(cost);
            return Err(error(
                ObjectErrorKind::OutOfMemory,
                "the system has no memory for it",
            ));
        }
        self.objects.insert(home, ObjectState::new(spec));
        let tokens = sides.iter().map(|side| match side {
            Side::First => self.enter(home, home, *side, label, spec, effects),
            Side::Second => {
                let id = self.new_object_id();
                self.enter(id, home, *side, label, spec, effects)
            }
        });
        Ok(tokens.collect())
    }

    fn enter(
        &mut self,
        id: ObjectId,
        home: ObjectId,
        side: Side,
        label: &str,
        spec: ObjectSpec,
        effects: &mut dyn Effects,
    ) -> Token {
        let token = effects.new_token();
        self.tokens.insert(token, id);
        let label = label.to_owned();
        self.directory.insert(
            id,
            ObjectEntry {
                label,
                spec,
                home,
                side,
            },
        );
        token
    }
}

/// Returns the bytes that are counted for an entry.
pub(super) const fn entry_cost(label: &str) -> u64 {
    OBJECT_OVERHEAD + label.len() as u64
}
