//! From a path in the code to the module that defines the item, through imports and re-exports.

use super::sources::{ModuleId, Sources};
use std::collections::BTreeSet;

/// The target of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A module.
    Module(ModuleId),
    /// An item, by the module that defines it.
    ItemOf(ModuleId),
}

impl Target {
    /// Returns the module that is named, or that defines what is named.
    pub(crate) fn module(self) -> ModuleId {
        match self {
            Self::Module(module) | Self::ItemOf(module) => module,
        }
    }
}

/// The meaning of a name in a module.
enum Found {
    Here(Target),
    /// It comes from another crate.
    External,
    Nothing,
}

/// A walk through the sources. It remembers which names it has looked up, because re-exports may lead in a circle.
pub(crate) struct Resolver<'a> {
    sources: &'a Sources,
    seen: BTreeSet<(ModuleId, String, bool)>,
}

/// Finds what a path names in a module; nothing if it is in another crate.
pub(crate) fn resolve(sources: &Sources, from: ModuleId, path: &[String]) -> Option<Target> {
    Resolver { sources, seen: BTreeSet::new() }.path(from, path, false)
}

/// Finds the only module that defines a macro of this name.
pub(crate) fn macro_module(sources: &Sources, name: &str) -> Option<ModuleId> {
    let mut defining = (0..sources.modules.len()).filter(|module| sources.modules[*module].macros.contains(name));
    let first = defining.next()?;
    defining.next().is_none().then_some(first)
}

impl Resolver<'_> {
    /// Resolves a path. A name can be both a module and an item; `as_module` says which one is meant.
    fn path(&mut self, from: ModuleId, path: &[String], as_module: bool) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut current = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => {
                let mut module = self.sources.modules[from].parent?;
                while let Some(("super", more)) = rest.split_first().map(|(name, more)| (name.as_str(), more)) {
                    module = self.sources.modules[module].parent?;
                    rest = more;
                }
                Target::Module(module)
            }
            name => match self.name(from, name, as_module || !rest.is_empty()) {
                Found::Here(target) => target,
                Found::External | Found::Nothing => return None,
            },
        };
        for (index, name) in rest.iter().enumerate() {
            let Target::Module(module) = current else { break };
            current = match self.name(module, name, as_module || index + 1 < rest.len()) {
                Found::Here(target) => target,
                Found::External => return None,
                // Made by a macro, or a name of another crate behind a glob.
                Found::Nothing => Target::ItemOf(module),
            };
        }
        Some(current)
    }

    fn name(&mut self, module: ModuleId, name: &str, as_module: bool) -> Found {
        let here = &self.sources.modules[module];
        let child = here.children.get(name).map(|child| Found::Here(Target::Module(*child)));
        if as_module && let Some(child) = child {
            return child;
        }
        if here.items.contains(name) {
            return Found::Here(Target::ItemOf(module));
        }
        if !self.seen.insert((module, name.to_owned(), as_module)) {
            return Found::Nothing;
        }
        let imported = self.imported(module, name, as_module);
        match (imported, child) {
            (Found::Here(target), _) => Found::Here(target),
            (_, Some(child)) => child,
            (imported, None) => imported,
        }
    }

    fn imported(&mut self, module: ModuleId, name: &str, as_module: bool) -> Found {
        let sources = self.sources;
        let mut is_external = false;
        for import in sources.modules[module].imports.iter().filter(|import| import.name.as_deref() == Some(name)) {
            match self.path(module, &import.path, as_module) {
                Some(target) => return Found::Here(target),
                None => is_external = true,
            }
        }
        for glob in sources.modules[module].imports.iter().filter(|import| import.name.is_none()) {
            if let Some(Target::Module(other)) = self.path(module, &glob.path, true)
                && let Found::Here(target) = self.name(other, name, as_module)
            {
                return Found::Here(target);
            }
        }
        if is_external { Found::External } else { Found::Nothing }
    }
}
