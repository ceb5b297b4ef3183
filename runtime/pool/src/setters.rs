//! Macros that define setters, for the builder of a pool and for that of a child. Each setter has its own documentation there.

/// Defines setters of the fields of `self.settings` with these names. With `=> Some` the field is optional.
macro_rules! setters {
    (@value $value:ident) => { $value };
    (@value $value:ident Some) => { Some($value) };
    ($($(#[$doc:meta])* $name:ident: $type:ty $(=> $some:ident)?),* $(,)?) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.settings.$name = setters!(@value $name $($some)?);
            self
        })*
    };
}

/// Defines setters of what tasks are granted: a directory, a scratch directory and an environment variable.
macro_rules! grant_setters {
    ($(#[$dir:meta])* dir, $(#[$tmp:meta])* tmp, $(#[$env:meta])* env $(,)?) => {
        $(#[$dir])*
        #[must_use]
        pub fn dir(mut self, dir: DirGrant) -> Self {
            self.settings.grants.dirs.push(dir);
            self
        }

        $(#[$tmp])*
        #[must_use]
        pub fn tmp(mut self, bytes: u64) -> Self {
            self.settings.grants.tmp = Some(bytes);
            self
        }

        $(#[$env])*
        #[must_use]
        pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self.settings.grants.env.insert(name.into(), value.into());
            self
        }
    };
}

pub(crate) use {grant_setters, setters};
