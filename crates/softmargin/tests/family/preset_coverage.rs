//! Checks that every preset has a golden file, a gradient test, documentation and a preset of the oracle.

use crate::gradients::preset_entries;
use softmargin::presets::{self, Preset};
use std::path::{Path, PathBuf};

/// Returns what a preset lacks.
fn missing_parts(preset: &Preset) -> Vec<String> {
    let mut missing = Vec::new();
    if !crate::golden::path(preset.name).exists() {
        missing.push(format!("golden/{}.json", preset.name));
    }
    if !preset_entries().iter().any(|(name, _)| *name == preset.name) {
        missing.push("an entry in the gradient tests (preset_entries in gradients.rs)".into());
    }
    if softmargin_oracle::preset(preset.name).is_none() {
        missing.push("a preset in softmargin-oracle".into());
    }
    for (field, text) in [
        ("summary", preset.summary),
        ("equation", preset.equation),
        ("gradient", preset.gradient),
        ("paper", preset.paper),
    ] {
        if text.trim().is_empty() {
            missing.push(format!("a text for its {field}"));
        }
    }
    missing.extend(missing_documentation(preset));
    missing.extend(missing_constant(preset));
    missing
}

/// Returns what the constant of the preset lacks: its definition with its name, and its export.
fn missing_constant(preset: &Preset) -> Vec<String> {
    let stem = preset.name.replace('-', "_");
    let constant = stem.to_uppercase();
    let definition = format!("pub const {constant}: Preset = Preset {{\n    name: \"{}\",\n", preset.name);
    let export = format!("pub use {stem}::{constant};\n");
    let mut missing = Vec::new();
    for (file, needed) in [(format!("{stem}.rs"), definition), ("mod.rs".into(), export)] {
        let text = std::fs::read_to_string(folder().join(&file)).unwrap_or_default();
        if !text.contains(&needed) {
            missing.push(format!("{needed:?} in src/presets/{file}"));
        }
    }
    missing
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/presets")
}

/// Returns what the module documentation of the preset's file lacks.
fn missing_documentation(preset: &Preset) -> Vec<String> {
    let file = format!("src/presets/{}.rs", preset.name.replace('-', "_"));
    let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)) else {
        return vec![file];
    };
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let has = |needed: &dyn Fn(&str) -> bool| header.iter().any(|line| needed(line));
    let equation = header.iter().skip_while(|line| !line.contains("```text")).any(|line| line.contains("L = "));
    let gradient = header.iter().any(|line| line.contains("dL/d"));
    let mut missing = Vec::new();
    if !equation {
        missing.push(format!("the equation, L = ..., in the module documentation of {file}"));
    }
    if !gradient {
        missing.push(format!("the gradient, dL/d..., in the module documentation of {file}"));
    }
    if !has(&|line| year(line).is_some()) || year(preset.paper).is_none() {
        missing.push(format!("a publication with its year, in the module documentation of {file} and in `paper`"));
    }
    missing
}

/// Returns the first number that can be the year of a publication.
fn year(text: &str) -> Option<u32> {
    let words = text.split(|c: char| !c.is_ascii_digit()).filter(|word| word.len() == 4);
    words.filter_map(|word| word.parse().ok()).find(|year| (1900..2100).contains(year))
}

#[test]
fn every_preset_is_complete() {
    let all: Vec<String> = presets::all()
        .iter()
        .flat_map(|preset| missing_parts(preset).into_iter().map(|part| format!("{} lacks {part}", preset.name)))
        .collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn missing_parts_of_a_preset_are_reported() {
    let mut impostor = *presets::find("arcface").unwrap();
    (impostor.name, impostor.paper, impostor.equation) = ("impostor", "somewhere", " ");
    let found = missing_parts(&impostor).join("; ");
    let parts = [
        "golden/impostor.json",
        "gradient tests",
        "softmargin-oracle",
        "equation",
        "src/presets/impostor.rs",
        "IMPOSTOR",
    ];
    for part in parts {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn names_are_unique_and_files_belong_to_presets() {
    let mut names: Vec<&str> = presets::all().iter().flat_map(Preset::names).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.trim_end_matches(".rs").replace('_', "-");
        let known = presets::all().iter().any(|preset| preset.name == stem);
        assert!(known || ["mod", "preset"].contains(&stem.as_str()), "src/presets/{name} belongs to no preset");
    }
    for name in softmargin_oracle::PRESET_NAMES {
        assert!(presets::find(name).is_ok(), "the core lacks {name} of the oracle");
    }
}
