//! The table of the project's structure: which crates a crate may use, and the order of its modules.
//!
//! A new crate gets a row here and a line in ARCHITECTURE.md.

/// The dependencies that a crate of the project may have.
pub(crate) struct CrateRule {
    /// The package name.
    pub(crate) name: &'static str,
    /// The crates of the project that it may use.
    pub(crate) uses: &'static [&'static str],
    /// The crates of the project that only its tests may use.
    pub(crate) tests_use: &'static [&'static str],
    /// The rule for the modules inside it.
    pub(crate) modules: ModuleRule,
}

/// The rule for the modules of a crate.
pub(crate) enum ModuleRule {
    /// No check, for the stated reason.
    Exempt(&'static str),
    /// No cycles. If the list is not empty, it names every top-level module, the lowest first, and a module may use
    /// only modules before it.
    Layers(&'static [&'static str]),
}

/// No cycles, and no fixed order yet.
const NO_CYCLES: ModuleRule = ModuleRule::Layers(&[]);

/// Every crate, the lowest first.
pub(crate) const CRATES: &[CrateRule] = &[
    CrateRule {
        name: "softmargin",
        uses: &[],
        tests_use: &["softmargin-oracle"],
        modules: ModuleRule::Layers(&[
            "error",
            "number",
            "random",
            "reduction",
            "buffer",
            "simd",
            "smooth",
            "measures",
            "state",
            "axes",
            "spec",
            "presets",
            "loss",
            "request",
            "rows",
            "scores",
            "head",
        ]),
    },
    CrateRule {
        name: "softmargin-oracle",
        uses: &[],
        tests_use: &[],
        modules: ModuleRule::Exempt(
            "it is the proof: each file restates one formula and names whatever the formula names, so a change of its \
             structure would only be a chance to get it wrong",
        ),
    },
    CrateRule { name: "softmargin-burn", uses: &["softmargin"], tests_use: &["softmargin-oracle"], modules: NO_CYCLES },
    CrateRule {
        name: "softmargin-data",
        uses: &["softmargin"],
        tests_use: &[],
        modules: ModuleRule::Layers(&[
            "wording",
            "error",
            "memory_limit",
            "sample_names",
            "sample_store",
            "parallel_read",
            "in_memory",
            "samples",
            "labeled_samples",
            "images",
            "folder_listing",
            "data_source",
            "augmentation",
            "normalization",
            "split",
            "load_options",
            "dataset",
            "npy",
            "formats",
            "load",
            "read_ahead",
        ]),
    },
    CrateRule { name: "softmargin-metrics", uses: &["softmargin"], tests_use: &[], modules: NO_CYCLES },
    CrateRule { name: "softmargin-report", uses: &[], tests_use: &[], modules: NO_CYCLES },
    CrateRule {
        name: "softmargin-lab",
        uses: &["softmargin", "softmargin-burn", "softmargin-data", "softmargin-metrics", "softmargin-report"],
        tests_use: &[],
        modules: ModuleRule::Layers(&[
            "device",
            "config",
            "run",
            "export",
            "input_files",
            "network",
            "observer",
            "panics",
            "predictor",
            "training",
            "commands",
        ]),
    },
    CrateRule { name: "softmargin-cli", uses: &["softmargin", "softmargin-lab"], tests_use: &[], modules: NO_CYCLES },
    CrateRule {
        name: "softmargin-python",
        uses: &["softmargin", "softmargin-metrics"],
        tests_use: &[],
        modules: NO_CYCLES,
    },
    CrateRule { name: "xtask", uses: &[], tests_use: &[], modules: NO_CYCLES },
];

/// Finds the row of a crate.
///
/// # Errors
/// If the crate has no row.
pub(crate) fn rule_of(name: &str) -> Result<&'static CrateRule, String> {
    CRATES.iter().find(|rule| rule.name == name).ok_or_else(|| {
        format!(
            "crate {name}: expected a row in the table, found none; give it its place in \
             xtask/src/structure/table.rs and ARCHITECTURE.md"
        )
    })
}
