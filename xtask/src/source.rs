// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! What the checks need to know of a Rust file, read from its tokens.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A `use`, or one branch of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The segments as they are written, without the `*` of a glob.
    pub path: Vec<String>,
    /// The name that it gives, `*` for a glob.
    pub name: String,
    /// Whether others see the name (`pub`, `pub(super)`, …).
    pub exported: bool,
}

/// A module: of a file, or inside one.
#[derive(Debug, Default, Clone)]
pub struct Module {
    pub uses: Vec<Use>,
    /// Paths in code, first segments first. Those of one segment are there, too.
    pub paths: BTreeSet<Vec<String>>,
    /// What it defines, except modules.
    pub items: BTreeSet<String>,
    /// Modules that are other files, with the value of their `#[path]`.
    pub files: Vec<(String, Option<String>)>,
    /// Modules in braces.
    pub inline: Vec<(String, Module)>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// The lines from `fn` to the closing brace.
    pub lines: usize,
    /// Whether it is compiled for tests only.
    pub test: bool,
    /// Whether its body is one `match` or one list, nearly all of it in arms or rows of one line.
    pub table: bool,
}

/// A file: the module that it is, without what is `#[cfg(test)]`, and its functions.
#[derive(Debug, Default)]
pub struct Source {
    pub module: Module,
    pub functions: Vec<Function>,
}

impl Source {
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
        let mut source = Self::default();
        let mut module = Module::default();
        Reader {
            tokens: tokens.into_iter().collect(),
            at: 0,
            test: false,
            functions: &mut source.functions,
        }
        .read(&mut module);
        source.module = module;
        Ok(source)
    }
}

/// Reads the tokens of one module or of one group in it.
struct Reader<'a> {
    tokens: Vec<TokenTree>,
    at: usize,
    test: bool,
    functions: &'a mut Vec<Function>,
}

/// What stands before an item.
#[derive(Default)]
struct Before {
    exported: bool,
    test: bool,
    path: Option<String>,
}

impl Reader<'_> {
    fn read(mut self, module: &mut Module) {
        let mut before = Before::default();
        while self.at < self.tokens.len() {
            match &self.tokens[self.at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => self.attribute(&mut before),
                TokenTree::Group(group) => {
                    let group = group.clone();
                    self.at += 1;
                    self.group(&group, before.test, module);
                    if group.delimiter() == Delimiter::Brace {
                        before = Before::default();
                    }
                }
                TokenTree::Ident(ident) => {
                    let word = ident.to_string();
                    if self.word(&word, &mut before, module) {
                        before = Before::default();
                    }
                }
                TokenTree::Punct(punct) => {
                    if matches!(punct.as_char(), ';' | ',') {
                        before = Before::default();
                    }
                    self.at += 1;
                }
                TokenTree::Literal(_) => self.at += 1,
            }
        }
    }

    fn group(&mut self, group: &Group, test: bool, module: &mut Module) {
        Reader {
            tokens: group.stream().into_iter().collect(),
            at: 0,
            test: self.test || test,
            functions: &mut *self.functions,
        }
        .read(module);
    }

    /// `#[…]` or `#![…]`.
    fn attribute(&mut self, before: &mut Before) {
        self.at += 1;
        if self.punct(0) == Some('!') {
            self.at += 1;
        }
        if let Some(TokenTree::Group(group)) = self.tokens.get(self.at) {
            let text = group.stream().to_string().replace(' ', "");
            before.test |= text == "cfg(test)" || text == "test";
            if let Some(path) = text.strip_prefix("path=") {
                before.path = Some(path.trim_matches('"').to_owned());
            }
            self.at += 1;
        }
    }

    /// Returns whether an item ends here, and with it what stood before it.
    fn word(&mut self, word: &str, before: &mut Before, module: &mut Module) -> bool {
        match word {
            "pub" => {
                before.exported = true;
                self.at += 1;
                if let Some(TokenTree::Group(group)) = self.tokens.get(self.at)
                    && group.delimiter() == Delimiter::Parenthesis
                {
                    self.at += 1;
                }
                return false;
            }
            // Not the `use<…>` of a type.
            "use" if self.punct(1) != Some('<') => self.uses(before, module),
            "mod" => self.module(before, module),
            // Not the type of a pointer.
            "fn" if self.ident(1).is_some() => self.function(before, module),
            _ => {
                let name = match word {
                    "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => 1,
                    "macro_rules" => 2,
                    _ => {
                        self.path(before.test, module);
                        return false;
                    }
                };
                module.items.extend(self.ident(name));
                self.at += 1;
                return false;
            }
        }
        true
    }

    /// `use …;`
    fn uses(&mut self, before: &Before, module: &mut Module) {
        self.at += 1;
        let start = self.at;
        while self.at < self.tokens.len() && self.punct(0) != Some(';') {
            self.at += 1;
        }
        if !self.test && !before.test {
            branches(
                &self.tokens[start..self.at],
                &[],
                before.exported,
                &mut module.uses,
            );
        }
    }

    /// `mod name;` or `mod name { … }`
    fn module(&mut self, before: &Before, module: &mut Module) {
        let Some(name) = self.ident(1) else {
            self.at += 1;
            return;
        };
        self.at += 2;
        let test = self.test || before.test;
        match self.tokens.get(self.at).cloned() {
            Some(TokenTree::Group(group)) => {
                self.at += 1;
                let mut inner = Module::default();
                self.group(&group, before.test, &mut inner);
                if !test {
                    module.inline.push((name, inner));
                }
            }
            _ if test => {}
            _ => module.files.push((name, before.path.clone())),
        }
    }

    /// `fn name …`, up to its body, whose functions and paths are of this module.
    fn function(&mut self, before: &Before, module: &mut Module) {
        let Some(name) = self.ident(1) else { return };
        let first = self.tokens[self.at].span().start().line;
        module.items.insert(name.clone());
        self.at += 2;
        while self.at < self.tokens.len() && self.punct(0) != Some(';') {
            if let TokenTree::Group(group) = &self.tokens[self.at] {
                let group = group.clone();
                if group.delimiter() == Delimiter::Brace {
                    self.functions.push(Function {
                        name,
                        lines: group.span_close().end().line + 1 - first,
                        test: self.test || before.test,
                        table: is_table(&group),
                    });
                    self.at += 1;
                    self.group(&group, before.test, module);
                    return;
                }
                self.group(&group, before.test, module);
                self.at += 1;
            } else if self.ident(0).is_some() {
                self.path(before.test, module);
            } else {
                self.at += 1;
            }
        }
    }

    /// `a::b::c`
    fn path(&mut self, test: bool, module: &mut Module) {
        let mut path = Vec::new();
        while let Some(name) = self.ident(0) {
            path.push(name);
            self.at += 1;
            if self.punct(0) != Some(':') || self.punct(1) != Some(':') {
                break;
            }
            self.at += 2;
        }
        if !self.test && !test {
            module.paths.insert(path);
        }
    }

    fn punct(&self, ahead: usize) -> Option<char> {
        match self.tokens.get(self.at + ahead)? {
            TokenTree::Punct(punct) => Some(punct.as_char()),
            _ => None,
        }
    }

    fn ident(&self, ahead: usize) -> Option<String> {
        match self.tokens.get(self.at + ahead)? {
            TokenTree::Ident(ident) => Some(ident.to_string()),
            _ => None,
        }
    }
}

/// The branches of a tree of `use`, which follow `prefix`.
fn branches(tokens: &[TokenTree], prefix: &[String], exported: bool, uses: &mut Vec<Use>) {
    let mut path = prefix.to_vec();
    let mut name = None;
    let mut rest = tokens.iter().peekable();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Ident(ident) if *ident == "as" => {
                name = rest.next().map(ToString::to_string);
            }
            TokenTree::Ident(ident) => path.push(ident.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == '*' => name = Some("*".to_owned()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let comma = |token: &TokenTree| token.to_string() == ",";
                for branch in inner.split(comma).filter(|branch| !branch.is_empty()) {
                    branches(branch, &path, exported, uses);
                }
                return;
            }
            _ => {}
        }
    }
    // `a::{self}` is `a`.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(last) = path.last() {
        let name = name.unwrap_or_else(|| last.clone());
        uses.push(Use {
            path,
            name,
            exported,
        });
    }
}

/// Whether a body is a table: one `match` or list, of which nine lines in ten are arms or rows that
/// fit into one line.
fn is_table(body: &Group) -> bool {
    let tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    let Some(TokenTree::Group(rows)) = tokens.last() else {
        return false;
    };
    let lines = |group: &Group| group.span_close().end().line - group.span_open().start().line + 1;
    if lines(rows) + 3 < lines(body) {
        return false;
    }
    let mut ends = BTreeSet::new();
    let mut longer = 0;
    for token in rows.stream() {
        let span = token.span();
        longer += span.end().line - span.start().line;
        ends.insert(span.end().line);
    }
    longer * 10 <= lines(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &str) -> Vec<String> {
        words.split("::").map(str::to_owned).collect()
    }

    #[test]
    fn uses() {
        let source = Source::parse(
            "use a::{self, b::{C as D, e}, f::*};\npub(super) use super::x::Y;\n\
             #[cfg(test)] use z::Z;\nfn f() -> impl T + use<'static> {}",
        )
        .unwrap();
        let found: Vec<_> = source
            .module
            .uses
            .iter()
            .map(|found| (found.path.join("::"), found.name.as_str(), found.exported))
            .collect();
        let expected = [
            ("a", "a", false),
            ("a::b::C", "D", false),
            ("a::b::e", "e", false),
            ("a::f", "*", false),
            ("super::x::Y", "Y", true),
        ];
        assert_eq!(
            found,
            expected.map(|(path, name, exported)| (path.to_owned(), name, exported))
        );
    }

    #[test]
    fn modules_items_and_paths() {
        let source = Source::parse(
            "mod a;\n#[path = \"../b/mod.rs\"]\npub mod b;\n#[cfg(test)]\nmod tests;\n\
             mod c { struct S; fn g() { crate::h::i() } }\n\
             #[cfg(test)]\nmod t { fn u() { super::v::w() } }\n\
             pub(crate) const K: u8 = 1;\n\
             fn f(x: self::a::X) -> Y { macro_call!(a::z(b::B { n: 1 })) }",
        )
        .unwrap();
        let module = &source.module;
        let files = [
            ("a".to_owned(), None),
            ("b".to_owned(), Some("../b/mod.rs".to_owned())),
        ];
        assert_eq!(module.files, files);
        assert_eq!(module.inline.len(), 1);
        assert!(module.inline[0].1.paths.contains(&words("crate::h::i")));
        assert!(module.items.contains("K") && module.items.contains("f"));
        for path in ["self::a::X", "Y", "a::z", "b::B"] {
            assert!(module.paths.contains(&words(path)), "{path}");
        }
        assert!(!module.paths.contains(&words("super::v::w")));
        let test: Vec<_> = source
            .functions
            .iter()
            .map(|f| (&f.name[..], f.test))
            .collect();
        assert_eq!(test, [("g", false), ("u", true), ("f", false)]);
    }

    #[test]
    fn length_is_from_fn_to_brace() {
        let source =
            Source::parse("#[inline]\npub fn f(\n    a: u8,\n) -> [u8; 2] {\n    [a, a]\n}");
        let functions = source.unwrap().functions;
        assert_eq!((functions[0].lines, &functions[0].name[..]), (5, "f"));
    }

    #[test]
    fn tables() {
        let rows = |row: &str| -> String { (0..9).map(|_| row).collect() };
        let table = |text: &str| Source::parse(text).unwrap().functions[0].table;
        let arms = rows("    1 => (a(), \"b\"),\n");
        assert!(table(&format!(
            "fn f() {{\n    match x {{\n{arms}    }}\n}}"
        )));
        assert!(table(&format!(
            "fn f() {{\n    vec![\n{}    ]\n}}",
            rows("    S { a: 1 },\n")
        )));
        let long = rows("    1 => {\n        a();\n        b()\n    }\n");
        assert!(!table(&format!(
            "fn f() {{\n    match x {{\n{long}    }}\n}}"
        )));
        let before = rows("    a();\n");
        assert!(!table(&format!(
            "fn f() {{\n{before}    match x {{\n{arms}    }}\n}}"
        )));
    }
}
