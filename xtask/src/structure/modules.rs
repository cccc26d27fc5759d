//! The direction of dependence between the modules of a crate.
//!
//! A module *uses* another one if its code names an item that is defined there: in a `use` declaration, in a path
//! (`crate::a::f`, `super::T`, `child::f`), or in a path among the tokens of a macro. A re-export leads to the module
//! that defines the item: `use crate::Error` is a use of `error`, not of `lib.rs`. The rules:
//!
//! - Among the top-level modules of a crate there is no cycle; among the modules of a folder neither. A folder is seen from
//!   outside as one module, with everything in it.
//! - The file of the folder itself (`lib.rs`, `mod.rs`) is one of its modules. If it has code that uses a submodule, and the
//!   submodule uses an item that it defines, that is a cycle: the shared item belongs in a file of its own, below both.
//! - A re-export of what is inside the folder (`pub use child::Item`, `pub(crate) use ..`) is not a use, so a file of
//!   declarations and re-exports is never part of a cycle. Naming a re-exported type in that file's own code is a use.
//! - Code that only tests compile does not count.
//!
//! One cycle is reported for each use that has to go. Its first step is a proposal: the use that is part of most
//! cycles.
//!
//! Calls of methods are not seen. Paths in strings are seen if they start with `crate`, `super` or `self`, as in
//! `#[serde(with = "crate::module")]`. A lower-case name without a path is seen where it is imported or called, not
//! where it is passed as a value.

use super::graph::{Graph, cycles, edges, from_the_bottom_up};
use super::sources::{ModuleId, Sources};
use super::uses::{Use, uses};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The modules of a library or a program, with their uses of each other.
pub(crate) struct ModuleGraph {
    sources: Sources,
    uses: Vec<Use>,
}

/// The modules of one folder (or of the crate), with one example for each edge.
struct Folder {
    graph: Graph,
    examples: BTreeMap<(String, String), Use>,
}

impl ModuleGraph {
    /// Reads a library or a program, starting with its root file.
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub(crate) fn read(root: &Path, read_file: &dyn Fn(&Path) -> Option<String>) -> Result<Self, String> {
        let sources = Sources::read(root, read_file)?;
        let uses = uses(&sources);
        Ok(Self { sources, uses })
    }

    /// Finds the cycles in all folders, and the uses against the order of the layers; returns one message per fault.
    pub(crate) fn faults(&self, layers: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for folder in self.folders() {
            let modules = self.folder(folder);
            faults.extend(cycles(&modules.graph).iter().map(|cycle| self.describe_cycle(folder, &modules, cycle)));
        }
        if !layers.is_empty() {
            faults.extend(self.layer_faults(layers));
        }
        faults
    }

    /// Describes the modules of every folder, the lowest first.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for folder in self.folders() {
            let modules = self.folder(folder);
            let _ = writeln!(text, "{}", self.folder_name(folder));
            for name in from_the_bottom_up(&modules.graph) {
                let used: Vec<&str> = modules.graph[name].iter().map(String::as_str).collect();
                let _ = match used.is_empty() {
                    true => writeln!(text, "    {name}"),
                    false => writeln!(text, "    {name}: uses {}", used.join(", ")),
                };
            }
        }
        text
    }

    /// Returns the modules that have files below them.
    fn folders(&self) -> Vec<ModuleId> {
        let parents = self.sources.modules.iter().filter(|module| !module.inline).filter_map(|module| module.parent);
        let mut parents: Vec<ModuleId> = parents.map(|parent| self.sources.file_module(parent)).collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }

    fn folder(&self, folder: ModuleId) -> Folder {
        let mut graph = Graph::new();
        for module in (0..self.sources.modules.len()).filter(|module| !self.sources.modules[*module].inline) {
            if let Some(name) = self.name_in(folder, module) {
                graph.entry(name).or_default();
            }
        }
        let mut examples = BTreeMap::new();
        for used in &self.uses {
            if let (Some(from), Some(to)) = (self.name_in(folder, used.from), self.name_in(folder, used.to))
                && from != to
            {
                graph.entry(from.clone()).or_default().insert(to.clone());
                examples.entry((from, to)).or_insert_with(|| used.clone());
            }
        }
        Folder { graph, examples }
    }

    /// Returns the name of the folder's module that is or contains the given one; the folder's own file has its file
    /// name.
    fn name_in(&self, folder: ModuleId, module: ModuleId) -> Option<String> {
        let (folder, inner) = (&self.sources.modules[folder], &self.sources.modules[module]);
        let below = inner.path.strip_prefix(&folder.path[..])?;
        match below.first() {
            Some(name) => Some(name.clone()),
            None => folder.file.file_name().map(|name| name.to_string_lossy().into_owned()),
        }
    }

    fn folder_name(&self, folder: ModuleId) -> String {
        let module = &self.sources.modules[folder];
        match module.path.is_empty() {
            true => format!("{} and its modules", module.file.display()),
            false => format!("{} and its modules ({})", module.file.display(), module.path.join("::")),
        }
    }

    fn describe_cycle(&self, folder: ModuleId, modules: &Folder, cycle: &[String]) -> String {
        let mut text = format!("{}: cycle {} -> {}", self.folder_name(folder), cycle.join(" -> "), cycle[0]);
        for (from, to) in edges(cycle) {
            let _ = write!(text, "\n    {}", self.describe_edge(modules, from, to));
        }
        text
    }

    fn describe_edge(&self, modules: &Folder, from: &str, to: &str) -> String {
        let file = |module: ModuleId| self.sources.modules[module].file.display();
        match modules.examples.get(&(from.to_owned(), to.to_owned())) {
            Some(used) => {
                format!("{from} -> {to}: {}:{} uses {} of {}", file(used.from), used.line, used.text, file(used.to))
            }
            None => format!("{from} -> {to}"),
        }
    }

    fn layer_faults(&self, layers: &[&str]) -> Vec<String> {
        let root = self.sources.modules[0].file.file_name().unwrap_or_default().to_string_lossy();
        let modules = self.folder(0);
        // The root file is above all modules.
        let layer =
            |name: &str| if name == root { Some(layers.len()) } else { layers.iter().position(|known| *known == name) };
        let mut faults: Vec<String> = layers
            .iter()
            .filter(|name| !modules.graph.contains_key(**name))
            .map(|name| {
                format!("{}: the table names module {name}, which does not exist; delete it there", self.folder_name(0))
            })
            .collect();
        for (from, targets) in &modules.graph {
            let Some(own) = layer(from) else {
                faults.push(format!(
                    "{}: module {from} is missing in the order of the layers; give it its place in \
                     xtask/src/structure/table.rs",
                    self.folder_name(0)
                ));
                continue;
            };
            let upward = targets.iter().filter(|to| layer(to).is_some_and(|other| other > own));
            faults.extend(upward.map(|to| {
                format!(
                    "{}: against the order of the layers\n    {}",
                    self.folder_name(0),
                    self.describe_edge(&modules, from, to)
                )
            }));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::ModuleGraph;
    use std::path::Path;

    fn graph(files: &[(&str, &str)]) -> ModuleGraph {
        let read =
            |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned());
        ModuleGraph::read(Path::new(files[0].0), &read).unwrap()
    }

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        graph(files).faults(&[])
    }

    /// Returns the only fault.
    fn cycle(files: &[(&str, &str)]) -> String {
        let faults = faults(files);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    }

    #[test]
    fn a_cycle_is_reported_with_files_and_lines() {
        let text = cycle(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::{self, B};\npub struct A(B);"),
            ("b.rs", "pub struct B;\nfn f() { super::c::g() }"),
            ("c.rs", "pub fn g() { let x: Option<crate::a::A> = None; }"),
        ]);
        assert_eq!(
            text,
            "lib.rs and its modules: cycle a -> b -> c -> a\n    \
             a -> b: a.rs:1 uses crate::b::B of b.rs\n    \
             b -> c: b.rs:2 uses super::c::g of c.rs\n    \
             c -> a: c.rs:1 uses crate::a::A of a.rs"
        );
    }

    #[test]
    fn uses_in_one_direction_are_no_cycle() {
        let files = [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B;")];
        assert!(faults(&files).is_empty());
    }

    #[test]
    fn a_re_export_leads_to_the_module_that_defines_the_item() {
        let text = cycle(&[
            ("lib.rs", "mod a; mod folder; pub use a::A; pub use folder::*;"),
            ("a.rs", "pub struct A(crate::Renamed);"),
            ("folder/mod.rs", "mod inner; pub use inner::Inner as Renamed;"),
            ("folder/inner.rs", "pub struct Inner(Option<Box<crate::A>>);"),
        ]);
        assert!(text.starts_with("lib.rs and its modules: cycle a -> folder -> a\n"), "{text}");
        assert!(text.contains("a.rs:1 uses crate::Renamed of folder/inner.rs"), "{text}");
    }

    #[test]
    fn test_code_is_ignored() {
        let files = [
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod b_tests;"),
            ("a.rs", "use crate::b::B;\npub struct A;\nimpl A { #[cfg(test)] fn t(_: B) {} }"),
            ("b.rs", "pub struct B;\n#[cfg(test)] use crate::a::A;\n#[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert!(faults(&files).is_empty());
    }

    #[test]
    fn an_item_of_the_parent_closes_a_cycle_only_if_the_parent_has_code_that_uses_the_child() {
        let child = ("folder/child.rs", "use super::Item;\npub(crate) struct Child(Item);");
        let with = |parent| cycle_count(&[("lib.rs", "mod folder;"), ("folder/mod.rs", parent), child]);
        assert_eq!(with("mod child; pub(crate) use child::Child; pub struct Item;"), 0);
        assert_eq!(with("mod child; pub struct Item; fn f(_: child::Child) {}"), 1);
        assert_eq!(with("mod child; pub(crate) use child::Child; pub struct Item; fn f(_: Child) {}"), 1);
    }

    fn cycle_count(files: &[(&str, &str)]) -> usize {
        faults(files).len()
    }

    #[test]
    fn paths_in_macros_and_in_blocks_are_seen() {
        let uses_b = |code: &str| {
            let files = [("lib.rs", "mod a; mod b;"), ("a.rs", code), ("b.rs", "pub struct B; use crate::a::A;")];
            cycle_count(&files) == 1
        };
        assert!(uses_b("pub struct A; fn f() { vec![crate::b::B]; }"));
        assert!(uses_b("pub struct A; mod block { fn f() -> super::super::b::B { todo!() } }"));
        assert!(uses_b("pub struct A; use crate::b as other; fn f(_: other::B) {}"));
        assert!(uses_b("#[serde(with = \"crate::b\")] pub struct A;"));
        assert!(!uses_b("pub struct A; use crate::b as other;"));
        assert!(!uses_b("pub struct A; pub(in crate::b) fn f(b: other_crate::b::B) {}"));
    }

    #[test]
    fn a_name_that_is_re_exported_from_another_crate_is_no_use() {
        let files = [("lib.rs", "mod a; pub use other; pub use other::B;"), ("a.rs", "use crate::{B, other::C};")];
        assert!(graph(&files).uses.is_empty());
    }

    #[test]
    fn layers_are_an_order_in_which_every_module_has_its_place() {
        let graph = graph(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "pub struct A;"),
            ("b.rs", "use crate::a::A;"),
            ("c.rs", ""),
        ]);
        assert!(graph.faults(&["a", "b", "c"]).is_empty());
        let faults = graph.faults(&["b", "a", "gone"]);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].contains("names module gone, which does not exist"), "{faults:?}");
        assert!(
            faults[1].contains("against the order of the layers\n    b -> a: b.rs:1 uses crate::a::A"),
            "{faults:?}"
        );
        assert!(faults[2].contains("module c is missing"), "{faults:?}");
    }
}
