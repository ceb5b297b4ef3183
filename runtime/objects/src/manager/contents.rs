//! Reads and replaces what is in an object, for the owner.

use mpwasm_types::objects::{ObjectError, ObjectErrorKind, ObjectId, ObjectSpec};

use super::objects::Objects;
use crate::bounds::MAX_CONTENTS;
use crate::context::OperationContext;
use crate::json::Json;
use crate::message::Effects;
use crate::object::ObjectState;
use crate::operation::{parse_list, parse_pairs};
use crate::operation_error::OperationError;
use crate::wait::Wakeups;

impl Objects {
    pub(super) fn contents(&self, id: ObjectId, effects: &mut dyn Effects) -> Result<Json, ObjectError> {
        let entry = self.existing(id, "contents")?;
        let most = usize::try_from(self.budget.cap().min(MAX_CONTENTS)).unwrap_or(usize::MAX);
        let contents = match (entry.spec, self.objects.get(&entry.home)) {
            (ObjectSpec::Value(_) | ObjectSpec::Array(..), _) => {
                let numbers = effects.numbers(id, entry.spec, most);
                Some(numbers.ok_or_else(|| self.error(id, "contents", &too_large(most)))?)
            }
            (_, Some(ObjectState::Queue(queue))) => Some(queue.contents()),
            (_, Some(ObjectState::Dict(dict))) => Some(dict.contents()),
            (_, Some(ObjectState::List(list))) => Some(list.contents()),
            (_, Some(ObjectState::Namespace(namespace))) => Some(namespace.contents()),
            _ => None,
        };
        let contents = contents.ok_or_else(|| self.error(id, "contents", &no_contents()))?;
        if contents.as_str().len() > most {
            return Err(self.error(id, "contents", &too_large(most)));
        }
        Ok(contents)
    }

    pub(super) fn restore(
        &mut self,
        id: ObjectId,
        contents: &[u8],
        effects: &mut dyn Effects,
    ) -> Result<Json, ObjectError> {
        let entry = self.existing(id, "restore")?;
        let (spec, home) = (entry.spec, entry.home);
        let mut wakeups = Wakeups::new();
        let restored = self.replace(id, spec, home, contents, &mut wakeups, effects);
        self.wake(wakeups, effects);
        restored
            .map(|()| Json::null())
            .map_err(|error| self.error(id, "restore", &error))
    }

    fn replace(
        &mut self,
        id: ObjectId,
        spec: ObjectSpec,
        home: ObjectId,
        contents: &[u8],
        wakeups: &mut Wakeups,
        effects: &mut dyn Effects,
    ) -> Result<(), OperationError> {
        let text = std::str::from_utf8(contents).ok();
        let contents = text
            .and_then(Json::parse)
            .ok_or_else(|| OperationError::new(ObjectErrorKind::Invalid, "the contents are no JSON"))?;
        if spec.numbers().is_some() {
            return effects.set_numbers(id, spec, &contents);
        }
        let list = || {
            parse_list(&contents)
                .ok_or_else(|| OperationError::new(ObjectErrorKind::Invalid, "the contents are no array"))
        };
        let pairs = || {
            let detail = "the contents are neither an object nor an array of pairs";
            parse_pairs(&contents).ok_or_else(|| OperationError::new(ObjectErrorKind::Invalid, detail))
        };
        let budget = &mut self.budget;
        match self.objects.get_mut(&home) {
            Some(ObjectState::Queue(queue)) => {
                queue.restore(list()?, &mut OperationContext { budget, wakeups })
            }
            Some(ObjectState::List(list_state)) => list_state.restore(list()?, budget),
            Some(ObjectState::Dict(dict)) => dict.restore(pairs()?, budget),
            Some(ObjectState::Namespace(namespace)) => namespace.restore(pairs()?, budget),
            _ => Err(no_contents()),
        }
    }
}

fn too_large(most: usize) -> OperationError {
    let detail = format!("the contents have more than {most} bytes as JSON");
    OperationError::new(ObjectErrorKind::TooLarge, detail)
}

fn no_contents() -> OperationError {
    OperationError::new(
        ObjectErrorKind::WrongType,
        "objects of this kind have no contents",
    )
}
