//! The macro that defines a program.

/// Defines a model that computes a checksum from a size.
macro_rules! program {
    ($(#[$doc:meta])* $name:ident: |$size:ident| $body:block) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name;

        impl mpwasm_guest::Model for $name {
            type Args = (u32,);
            type Output = u64;

            fn runnable(($size,): (u32,)) -> Result<u64, mpwasm_guest::Error> {
                Ok($body)
            }
        }
    };
}

pub(crate) use program;
