//! The modules of a crate, read from its sources: which file each one is, what it defines, and what it imports.
//!
//! Code that only tests compile is left out: items under `#[cfg(test)]`, and files whose `mod` line is.

use super::test_code::is_test_only;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// Index of a module in [`Sources`].
pub(crate) type ModuleId = usize;

/// All modules of a library or a program.
pub(crate) struct Sources {
    /// The modules; the root is the first.
    pub(crate) modules: Vec<Module>,
}

/// One module: a file, or a block inside a file.
pub(crate) struct Module {
    /// The names from the crate's root to here; empty for the root.
    pub(crate) path: Vec<String>,
    /// The file in which it stands.
    pub(crate) file: PathBuf,
    /// The module around it.
    pub(crate) parent: Option<ModuleId>,
    /// True if it is a block `mod name { }` in its parent's file.
    pub(crate) inline: bool,
    /// Its submodules by name.
    pub(crate) children: BTreeMap<String, ModuleId>,
    /// The names of the items that it defines.
    pub(crate) items: BTreeSet<String>,
    /// The names of the macros that it defines with `macro_rules!`.
    pub(crate) macros: BTreeSet<String>,
    /// Its imports, also those inside of functions.
    pub(crate) imports: Vec<Import>,
    /// Its code.
    pub(crate) body: Vec<syn::Item>,
}

/// One name that a `use` declaration brings in, or one glob.
#[derive(Clone)]
pub(crate) struct Import {
    /// The name in this module; none for a glob.
    pub(crate) name: Option<String>,
    /// The path that is imported.
    pub(crate) path: Vec<String>,
    /// True if other modules see it too, as with `pub use` and `pub(crate) use`.
    pub(crate) exported: bool,
    /// The line on which it ends.
    pub(crate) line: usize,
}

impl Sources {
    /// Reads all modules, starting with the root file (`lib.rs`, `main.rs`).
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub(crate) fn read(root: &Path, read_file: &dyn Fn(&Path) -> Option<String>) -> Result<Self, String> {
        let mut sources = Self { modules: Vec::new() };
        let directory = root.parent().unwrap_or(Path::new("")).to_path_buf();
        sources.add_file(root, directory, Vec::new(), None, read_file)?;
        Ok(sources)
    }

    /// Returns the module that is a file of its own: the given one, or the one around it.
    pub(crate) fn file_module(&self, mut module: ModuleId) -> ModuleId {
        while self.modules[module].inline {
            match self.modules[module].parent {
                Some(parent) => module = parent,
                None => break,
            }
        }
        module
    }

    /// Returns whether a module is inside another one, at any depth.
    pub(crate) fn is_inside(&self, module: ModuleId, other: ModuleId) -> bool {
        module != other && self.modules[module].path.starts_with(&self.modules[other].path)
    }

    fn add_file(
        &mut self,
        file: &Path,
        directory: PathBuf,
        path: Vec<String>,
        parent: Option<ModuleId>,
        read_file: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<ModuleId, String> {
        let text = read_file(file).ok_or_else(|| format!("{}: cannot be read", file.display()))?;
        let syntax = syn::parse_file(&text).map_err(|cause| format!("{}: {cause}", file.display()))?;
        let place = Place { file: file.to_path_buf(), path, parent, inline: false };
        self.add_module(place, syntax.items, &directory, read_file)
    }

    /// Adds a module with its submodules, whose files are in the directory.
    fn add_module(
        &mut self,
        place: Place,
        body: Vec<syn::Item>,
        directory: &Path,
        read_file: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<ModuleId, String> {
        let id = self.modules.len();
        let mut body: Vec<syn::Item> = body.into_iter().filter(|item| !is_test_only(attributes(item))).collect();
        let Place { file, path, parent, inline } = place;
        self.modules.push(Module {
            items: body.iter().filter_map(defined_name).collect(),
            macros: body.iter().filter_map(macro_name).collect(),
            imports: imports(&body),
            children: BTreeMap::new(),
            body: Vec::new(),
            file: file.clone(),
            path: path.clone(),
            parent,
            inline,
        });
        for item in &mut body {
            if let syn::Item::Mod(child) = item {
                let name = child.ident.to_string();
                let path: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
                let child = match child.content.take() {
                    Some((_, items)) => {
                        let place = Place { file: file.clone(), path, parent: Some(id), inline: true };
                        self.add_module(place, items, &directory.join(&name), read_file)?
                    }
                    None => {
                        let (file, below) = child_file(child, &file, directory, read_file)?;
                        self.add_file(&file, below, path, Some(id), read_file)?
                    }
                };
                // One name twice: variants for different targets, of which the first stands for all.
                self.modules[id].children.entry(name).or_insert(child);
            }
        }
        self.modules[id].body = body;
        Ok(id)
    }
}

/// The place of a module.
struct Place {
    file: PathBuf,
    path: Vec<String>,
    parent: Option<ModuleId>,
    inline: bool,
}

/// Finds the file of `mod name;`, and the directory of its own submodules.
fn child_file(
    child: &syn::ItemMod,
    declared_in: &Path,
    directory: &Path,
    read_file: &dyn Fn(&Path) -> Option<String>,
) -> Result<(PathBuf, PathBuf), String> {
    let name = child.ident.to_string();
    let stated = child.attrs.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    if let Some(stated) = stated {
        let file = declared_in.parent().unwrap_or(Path::new("")).join(stated);
        let below = file.parent().unwrap_or(Path::new("")).to_path_buf();
        return Ok((file, below));
    }
    let below = directory.join(&name);
    [directory.join(format!("{name}.rs")), below.join("mod.rs")]
        .into_iter()
        .find(|file| read_file(file).is_some())
        .map(|file| (file, below))
        .ok_or_else(|| format!("{}: no file found for mod {name}", declared_in.display()))
}

/// Returns the attributes of an item.
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item;
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined_name(item: &syn::Item) -> Option<String> {
    use syn::Item;
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return macro_name(item),
    };
    Some(name.to_string())
}

fn macro_name(item: &syn::Item) -> Option<String> {
    match item {
        syn::Item::Macro(item) => item.ident.as_ref().map(ToString::to_string),
        _ => None,
    }
}

fn imports(body: &[syn::Item]) -> Vec<Import> {
    let mut found = Imports(Vec::new());
    for item in body {
        found.visit_item(item);
    }
    found.0
}

struct Imports(Vec<Import>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    /// Skips a block: it is a module of its own.
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    fn visit_item_use(&mut self, declaration: &'ast syn::ItemUse) {
        // `::name` is another crate.
        if declaration.leading_colon.is_none() {
            let exported = !matches!(declaration.vis, syn::Visibility::Inherited);
            add_imports(&declaration.tree, &mut Vec::new(), exported, &mut self.0);
        }
    }
}

fn add_imports(tree: &syn::UseTree, path: &mut Vec<String>, exported: bool, found: &mut Vec<Import>) {
    let mut add = |name: Option<String>, last: Option<&syn::Ident>, line: usize| {
        let last = last.map(ToString::to_string).filter(|last| last != "self");
        let path: Vec<String> = path.iter().cloned().chain(last).collect();
        // `use module::{self}` brings in the module's own name.
        let name = if name.as_deref() == Some("self") { path.last().cloned() } else { name };
        found.push(Import { name, path, exported, line });
    };
    match tree {
        syn::UseTree::Path(step) => {
            path.push(step.ident.to_string());
            add_imports(&step.tree, path, exported, found);
            path.pop();
        }
        syn::UseTree::Name(leaf) => add(Some(leaf.ident.to_string()), Some(&leaf.ident), line_of(&leaf.ident)),
        syn::UseTree::Rename(leaf) => add(Some(leaf.rename.to_string()), Some(&leaf.ident), line_of(&leaf.ident)),
        syn::UseTree::Glob(glob) => add(None, None, glob.star_token.spans[0].start().line),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                add_imports(tree, path, exported, found);
            }
        }
    }
}

fn line_of(ident: &syn::Ident) -> usize {
    ident.span().start().line
}
