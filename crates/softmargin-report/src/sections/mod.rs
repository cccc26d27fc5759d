//! The sections of the pages: one file each, with one function from records to HTML.

pub(crate) mod class_table;
pub(crate) mod configuration;
pub(crate) mod confusions;
pub(crate) mod evaluation_facts;
pub(crate) mod facts;
pub(crate) mod headline;
pub(crate) mod missing;
pub(crate) mod run_facts;
#[cfg(test)]
pub(crate) mod test_records;
pub(crate) mod training_curves;
