//! The uses of items of one file of a crate by another, found in `use` declarations and in paths inside the code.

use super::resolve::{Target, macro_module, resolve};
use super::sources::{ModuleId, Sources, attributes};
use super::test_code::is_test_only;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One place where the code of a file names an item of another file.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// The module of the file that names it.
    pub(crate) from: ModuleId,
    /// The module of the file that defines it.
    pub(crate) to: ModuleId,
    /// The line in the file of `from`.
    pub(crate) line: usize,
    /// The path as it is written.
    pub(crate) text: String,
}

/// Collects the uses in all modules.
pub(crate) fn uses(sources: &Sources) -> Vec<Use> {
    let mut uses = Vec::new();
    for (id, module) in sources.modules.iter().enumerate() {
        let mut collector = Collector { sources, module: id, uses: &mut uses };
        collector.imports();
        for item in &module.body {
            collector.visit_item(item);
        }
    }
    uses
}

struct Collector<'a> {
    sources: &'a Sources,
    module: ModuleId,
    uses: &'a mut Vec<Use>,
}

impl Collector<'_> {
    fn imports(&mut self) {
        for import in &self.sources.modules[self.module].imports {
            let target = resolve(self.sources, self.module, &import.path);
            let is_glob = import.name.is_none();
            match target {
                // Only what is named through it counts.
                Some(Target::Module(_)) if !is_glob => {}
                Some(target) => {
                    let inside = self.sources.is_inside(target.module(), self.sources.file_module(self.module));
                    if !(import.exported && inside) {
                        self.add(target.module(), &import.path, import.line);
                    }
                }
                None => {}
            }
        }
    }

    fn path(&mut self, path: &[String], line: usize) {
        if let Some(Target::ItemOf(module)) = resolve(self.sources, self.module, path) {
            self.add(module, path, line);
        }
    }

    fn add(&mut self, to: ModuleId, path: &[String], line: usize) {
        let (from, to) = (self.sources.file_module(self.module), self.sources.file_module(to));
        if from != to {
            self.uses.push(Use { from, to, line, text: path.join("::") });
        }
    }

    /// Collects the paths among the tokens of a macro, whose syntax is its own.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut index = 0;
        while index < tokens.len() {
            match &tokens[index] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) if !follows_dot_or_colon(&tokens[..index]) => {
                    let mut path = vec![first.to_string()];
                    while let Some(next) = next_segment(&tokens[index + 1..]) {
                        path.push(next);
                        index += 3;
                    }
                    if path.len() > 1 || is_type_name(&path[0]) {
                        self.path(&path, first.span().start().line);
                    }
                }
                _ => {}
            }
            index += 1;
        }
    }

    /// Collects the paths in the string literals of an attribute: `#[serde(with = "crate::module")]`.
    fn quoted_paths(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.quoted_paths(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    let text = literal.to_string();
                    let path: Vec<String> = text.trim_matches('"').split("::").map(str::to_owned).collect();
                    let is_local = path.len() > 1 && matches!(path[0].as_str(), "crate" | "super" | "self");
                    if is_local && let Some(target) = resolve(self.sources, self.module, &path) {
                        self.add(target.module(), &path, line);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

/// Returns whether a single name is that of a type. A lower-case one may be a variable; calls are seen where they are.
fn is_type_name(name: &str) -> bool {
    name.starts_with(char::is_uppercase)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn follows_dot_or_colon(before: &[TokenTree]) -> bool {
    match before {
        [.., first, second] => is_punct(second, '.') || (is_punct(first, ':') && is_punct(second, ':')),
        [only] => is_punct(only, '.'),
        [] => false,
    }
}

fn next_segment(after: &[TokenTree]) -> Option<String> {
    match after {
        [first, second, TokenTree::Ident(name), ..] if is_punct(first, ':') && is_punct(second, ':') => {
            Some(name.to_string())
        }
        _ => None,
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn line_of(path: &syn::Path) -> usize {
    path.segments.first().map_or(0, |segment| segment.ident.span().start().line)
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(item) => &item.attrs[..],
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    /// Skips a block: it is a module of its own.
    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    /// Skips an import: it is read with the module.
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    /// Skips `pub(super)` and `pub(in path)`: they use nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
            self.quoted_paths(list.tokens.clone());
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && function.qself.is_none()
            && function.path.segments.len() == 1
        {
            self.path(&segments(&function.path), line_of(&function.path));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = segments(path);
        if path.leading_colon.is_none() && (names.len() > 1 || is_type_name(&names[0])) {
            self.path(&names, line_of(path));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let names = segments(&invocation.path);
        if let [name] = &names[..] {
            if let Some(module) = macro_module(self.sources, name) {
                self.add(module, &names, line_of(&invocation.path));
            }
        } else {
            self.path(&names, line_of(&invocation.path));
        }
        self.tokens(invocation.tokens.clone());
    }
}
