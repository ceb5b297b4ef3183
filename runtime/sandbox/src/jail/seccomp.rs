//! Builds seccomp filters from the [allow-lists](super::allow_list), and applies them to all threads of the process.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use super::allow_list::{self, Condition, Rule};
use super::error::JailError;
use mpwasm_types::grants::Access;
use mpwasm_types::role::Role;

/// Applies the allow-list of the role to all threads (step 11).
pub fn restrict(role: Role, files: Option<Access>) -> Result<(), JailError> {
    let fail = |error: &dyn std::fmt::Display| JailError::new("seccomp", error);
    if role == Role::Dispatcher {
        // The kernel applies the stricter of two filters, so these fail although the list below allows them.
        let absent = program(
            allow_list::ABSENT.iter(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        );
        let absent = absent.map_err(|error| fail(&error))?;
        apply_filter_all_threads(&absent).map_err(|error| fail(&error))?;
    }
    let list = program(
        allow_list::rules(role, files),
        SeccompAction::Trap,
        SeccompAction::Allow,
    );
    apply_filter_all_threads(&list.map_err(|error| fail(&error))?).map_err(|error| fail(&error))
}

/// Builds a filter that answers the system calls of `list` with `listed`, and all others with `otherwise`.
fn program<'a>(
    list: impl Iterator<Item = &'a Rule>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::<i64, Vec<SeccompRule>>::new();
    for Rule { call, condition } in list {
        let entry = rules.entry(*call).or_default();
        if let Some(conditions) = seccomp_conditions(condition)? {
            entry.push(SeccompRule::new(conditions)?);
        }
    }
    SeccompFilter::new(rules, otherwise, listed, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Translates a condition. `None` stands for no condition.
fn seccomp_conditions(
    condition: &Condition,
) -> Result<Option<Vec<SeccompCondition>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::Dword;
    let equal = |argument, value: u32| SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.into());
    Ok(match *condition {
        Condition::Always => None,
        Condition::Equal(argument, value) => Some(vec![equal(argument, value)?]),
        Condition::Except(argument, value) => {
            let op = SeccompCmpOp::Ne;
            Some(vec![SeccompCondition::new(argument, Dword, op, value.into())?])
        }
        Condition::BothEqual((first, value), (second, other)) => {
            Some(vec![equal(first, value)?, equal(second, other)?])
        }
        Condition::Without(argument, bits) => {
            let op = SeccompCmpOp::MaskedEq(bits.into());
            Some(vec![SeccompCondition::new(argument, Dword, op, 0)?])
        }
        Condition::OwnProcess(argument) => Some(vec![equal(argument, std::process::id())?]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all roles with all kinds of access to files.
    fn all_roles() -> impl Iterator<Item = (Role, Option<Access>)> {
        let files = [None, Some(Access::ReadOnly), Some(Access::ReadWrite)];
        Role::ALL
            .into_iter()
            .flat_map(move |role| files.map(|files| (role, files)))
    }

    #[test]
    fn the_filter_of_every_role_compiles_and_is_within_the_limit_of_the_kernel() {
        for (role, files) in all_roles() {
            let program = program(
                allow_list::rules(role, files),
                SeccompAction::Trap,
                SeccompAction::Allow,
            );
            let length = program.unwrap().len();
            assert!(length < 4096, "{role:?}: {length} instructions");
        }
    }

    /// A rule without a condition would make another rule for the same system call ineffective.
    #[test]
    fn no_system_call_is_listed_with_and_without_a_condition() {
        for (role, files) in all_roles() {
            let mut always = BTreeMap::new();
            for Rule { call, condition } in allow_list::rules(role, files) {
                let is_always = matches!(condition, Condition::Always);
                assert_eq!(
                    *always.entry(*call).or_insert(is_always),
                    is_always,
                    "{role:?}: {call}"
                );
            }
        }
    }
}
