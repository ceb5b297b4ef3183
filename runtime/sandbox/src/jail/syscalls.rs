//! seccomp: from the lists in [`allowed`](super::allowed) to filters, on all threads of the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use super::JailError;
use super::allowed::{Allowed, When};
use crate::jail::allowed;
use mpwasm_types::grants::Access;
use mpwasm_types::role::Role;

/// Step 11.
pub fn restrict(role: Role, files: Option<Access>) -> Result<(), JailError> {
    let fail = |error: &dyn std::fmt::Display| JailError::new("seccomp", error);
    if role == Role::Dispatcher {
        // Of two filters the kernel takes the stricter verdict: what the list lets through does not exist all the same.
        let absent = program(
            allowed::ABSENT.iter(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        );
        let absent = absent.map_err(|error| fail(&error))?;
        apply_filter_all_threads(&absent).map_err(|error| fail(&error))?;
    }
    let list = program(
        allowed::of(role, files),
        SeccompAction::Trap,
        SeccompAction::Allow,
    );
    apply_filter_all_threads(&list.map_err(|error| fail(&error))?).map_err(|error| fail(&error))
}

fn program<'a>(
    list: impl Iterator<Item = &'a Allowed>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
    for Allowed { call, when } in list {
        let entry = rules.entry(*call).or_default();
        if let Some(conditions) = conditions(when)? {
            entry.push(SeccompRule::new(conditions)?);
        }
    }
    SeccompFilter::new(rules, otherwise, listed, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// `None` stands for always.
fn conditions(when: &When) -> Result<Option<Vec<SeccompCondition>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::Dword;
    let equal = |argument, value: u32| SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.into());
    Ok(match *when {
        When::Always => None,
        When::Equal(argument, value) => Some(vec![equal(argument, value)?]),
        When::Except(argument, value) => {
            let op = SeccompCmpOp::Ne;
            Some(vec![SeccompCondition::new(argument, Dword, op, value.into())?])
        }
        When::BothEqual((first, value), (second, other)) => {
            Some(vec![equal(first, value)?, equal(second, other)?])
        }
        When::Without(argument, bits) => {
            let op = SeccompCmpOp::MaskedEq(bits.into());
            Some(vec![SeccompCondition::new(argument, Dword, op, 0)?])
        }
        When::OwnProcess(argument) => Some(vec![equal(argument, std::process::id())?]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All roles, with all grants.
    fn everyone() -> impl Iterator<Item = (Role, Option<Access>)> {
        let files = [None, Some(Access::ReadOnly), Some(Access::ReadWrite)];
        Role::ALL
            .into_iter()
            .flat_map(move |role| files.map(|files| (role, files)))
    }

    #[test]
    fn every_roles_filter_compiles_and_fits_into_the_kernels_limit() {
        for (role, files) in everyone() {
            let program = program(
                allowed::of(role, files),
                SeccompAction::Trap,
                SeccompAction::Allow,
            );
            let length = program.unwrap().len();
            assert!(length < 4096, "{role:?}: {length} instructions");
        }
    }

    /// A condition beside an "always" for the same call would widen the list to always, unseen.
    #[test]
    fn no_call_is_listed_with_and_without_a_condition() {
        for (role, files) in everyone() {
            let mut always = BTreeMap::new();
            for Allowed { call, when } in allowed::of(role, files) {
                let is_always = matches!(when, When::Always);
                assert_eq!(
                    *always.entry(*call).or_insert(is_always),
                    is_always,
                    "{role:?}: {call}"
                );
            }
        }
    }
}
