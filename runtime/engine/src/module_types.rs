//! Imports, exports and initial sizes of a module, read from its sections without compiling anything.

use std::fmt;

use wasmtime_environ::wasmparser::types::{EntityType, Types};
use wasmtime_environ::wasmparser::{
    BinaryReaderError, FuncType, MemoryType, Parser, Payload, ValType, ValidPayload, Validator, WasmFeatures,
};

use mpwasm_types::guest_info::InitialSizes;

/// Bytes of a page of linear memory.
pub(crate) const PAGE: u64 = 65536;

/// The types of a module.
pub(crate) struct ModuleTypes(Types);

/// The type of an import or export.
pub(crate) enum ItemType<'a> {
    Func(&'a FuncType),
    Memory(MemoryType),
    Global,
    Table,
    Tag,
}

impl ModuleTypes {
    /// Reads the types of a module that the engine has validated. Bodies of functions are skipped.
    ///
    /// # Errors
    /// Returns an error if the module is not valid.
    pub(crate) fn read(binary: &[u8]) -> Result<Option<Self>, BinaryReaderError> {
        // The engine has already checked which features are used.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        for payload in Parser::new(0).parse_all(binary) {
            if let ValidPayload::End(types) = validator.payload(&payload?)? {
                return Ok(Some(Self(types)));
            }
        }
        Ok(None)
    }

    /// Returns the module, name and type of each import.
    pub(crate) fn imports(&self) -> impl Iterator<Item = (&str, &str, ItemType<'_>)> {
        let types = self.0.as_ref();
        let imports: Vec<_> = types.core_imports().into_iter().flatten().collect();
        imports
            .into_iter()
            .map(|(module, name, ty)| (module, name, self.shape(ty)))
    }

    /// Returns the name and type of each export.
    pub(crate) fn exports(&self) -> impl Iterator<Item = (&str, ItemType<'_>)> {
        let types = self.0.as_ref();
        let exports: Vec<_> = types.core_exports().into_iter().flatten().collect();
        exports.into_iter().map(|(name, ty)| (name, self.shape(ty)))
    }

    /// Returns the sizes of the memory and the tables that an instance starts with.
    pub(crate) fn initial_sizes(&self) -> InitialSizes {
        let types = self.0.as_ref();
        let imported = |wanted: fn(&ItemType<'_>) -> bool| {
            let count = self.imports().filter(|(_, _, ty)| wanted(ty)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let first_memory = imported(|ty| matches!(ty, ItemType::Memory(_)));
        let first_table = imported(|ty| matches!(ty, ItemType::Table));
        let memories = (first_memory..types.memory_count()).map(|index| types.memory_at(index).initial);
        let tables = (first_table..types.table_count()).map(|index| types.table_at(index).initial);
        InitialSizes {
            memory: memories.max().unwrap_or(0).saturating_mul(PAGE),
            table_elements: tables.max().unwrap_or(0),
            tables: types.table_count() - first_table,
        }
    }

    fn shape(&self, ty: EntityType) -> ItemType<'_> {
        match ty {
            EntityType::Func(id) | EntityType::FuncExact(id) => ItemType::Func(self.0[id].unwrap_func()),
            EntityType::Memory(ty) => ItemType::Memory(ty),
            EntityType::Global(_) => ItemType::Global,
            EntityType::Table(_) => ItemType::Table,
            EntityType::Tag(_) => ItemType::Tag,
        }
    }
}

/// Returns the sizes of the bodies of a module's functions, in bytes. After an error in the module the rest is missing.
pub(crate) fn body_sizes(binary: &[u8]) -> Vec<usize> {
    let payloads = Parser::new(0).parse_all(binary).map_while(Result::ok);
    let size = |payload| match payload {
        Payload::CodeSectionEntry(body) => Some(body.range().len()),
        _ => None,
    };
    payloads.filter_map(size).collect()
}

/// Writes the type as it stands in a message.
impl fmt::Display for ItemType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Func(ty) => signature(f, ty),
            Self::Memory(_) => f.write_str("a memory"),
            Self::Global => f.write_str("a global"),
            Self::Table => f.write_str("a table"),
            Self::Tag => f.write_str("a tag"),
        }
    }
}

fn signature(f: &mut fmt::Formatter<'_>, ty: &FuncType) -> fmt::Result {
    f.write_str("a function ")?;
    list(f, ty.params())?;
    f.write_str(" -> ")?;
    match ty.results() {
        [one] => write!(f, "{one}"),
        results => list(f, results),
    }
}

/// Writes types as `(i32, i64)`, and no more than some: a hostile guest's functions have a thousand parameters.
fn list(f: &mut fmt::Formatter<'_>, types: &[ValType]) -> fmt::Result {
    const SHOWN: usize = 16;
    f.write_str("(")?;
    for (i, ty) in types.iter().take(SHOWN).enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{ty}")?;
    }
    f.write_str(if types.len() > SHOWN { ", ...)" } else { ")" })
}
