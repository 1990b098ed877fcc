// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! The modules of a crate, and which file each path of them leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::source::{Module, Source};

/// One module of a crate.
struct Node {
    file: PathBuf,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    module: Module,
}

/// The modules of a crate; the root comes first.
pub struct Crate {
    nodes: Vec<Node>,
}

/// What a path leads to.
enum Target {
    Module(usize),
    /// Something that this module defines.
    Item(usize),
}

/// `use`s that lead to each other are followed this far.
const DEPTH: usize = 16;

impl Crate {
    /// Reads the crate whose root is this file, all paths from the repository's top. `sources` has
    /// the files.
    pub fn new(root: &Path, sources: &BTreeMap<PathBuf, Source>) -> Result<Self, String> {
        let mut tree = Self { nodes: Vec::new() };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        let module = find(root, sources)?;
        tree.add(root, &folder, None, module, sources)?;
        Ok(tree)
    }

    /// Adds a module and those in it. `folder` is where the files of the latter are.
    fn add(
        &mut self,
        file: &Path,
        folder: &Path,
        parent: Option<usize>,
        mut module: Module,
        sources: &BTreeMap<PathBuf, Source>,
    ) -> Result<usize, String> {
        let index = self.nodes.len();
        let inline = std::mem::take(&mut module.inline);
        let files = std::mem::take(&mut module.files);
        self.nodes.push(Node {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            module,
        });
        for (name, module) in inline {
            let child = self.add(file, &folder.join(&name), Some(index), module, sources)?;
            self.nodes[index].children.insert(name, child);
        }
        for (name, path) in files {
            let (file, folder) = match path {
                Some(path) => {
                    let file = plain(&file.with_file_name("").join(path));
                    let folder = file.with_file_name("");
                    (file, folder)
                }
                None => {
                    let own = folder.join(&name);
                    let flat = own.with_extension("rs");
                    let file = if sources.contains_key(&flat) {
                        flat
                    } else {
                        own.join("mod.rs")
                    };
                    (file, own)
                }
            };
            let module = find(&file, sources)?;
            let child = self.add(&file, &folder, Some(index), module, sources)?;
            self.nodes[index].children.insert(name, child);
        }
        Ok(index)
    }

    /// Which files each file uses, itself excepted.
    pub fn edges(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut edges: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let used = edges.entry(&node.file).or_default();
            let module = &node.module;
            let imports = module
                .uses
                .iter()
                .filter(|import| !import.exported)
                .filter_map(|import| match self.resolve(index, &import.path, DEPTH)? {
                    Target::Item(target) => Some(target),
                    // Of what a glob gives anything may be used.
                    Target::Module(target) => (import.name == "*").then_some(target),
                });
            let paths =
                module
                    .paths
                    .iter()
                    .filter_map(|path| match self.resolve(index, path, DEPTH)? {
                        Target::Item(target) => Some(target),
                        Target::Module(_) => None,
                    });
            for target in imports.chain(paths) {
                let file = &*self.nodes[target].file;
                if file != node.file {
                    used.insert(file);
                }
            }
        }
        edges
    }

    /// What a path in a module leads to; nothing if that is in another crate or a local name.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.nodes[from].parent?,
            _ => {
                return match self.name(from, first, depth)? {
                    Target::Module(module) => self.walk(module, rest, depth),
                    item @ Target::Item(_) => Some(item),
                };
            }
        };
        self.walk(start, rest, depth)
    }

    fn walk(&self, mut module: usize, path: &[String], depth: usize) -> Option<Target> {
        for segment in path {
            module = match segment.as_str() {
                "super" => self.nodes[module].parent?,
                _ => match self.name(module, segment, depth) {
                    Some(Target::Module(child)) => child,
                    Some(item) => return Some(item),
                    // Made by a macro. What is made in the root is of no file: a kernel module's
                    // parameters are there, whose macro names the driver.
                    None => return (module != 0).then_some(Target::Item(module)),
                },
            };
        }
        Some(Target::Module(module))
    }

    /// What a name in a module is.
    fn name(&self, module: usize, name: &str, depth: usize) -> Option<Target> {
        let depth = depth.checked_sub(1)?;
        let node = &self.nodes[module];
        if let Some(&child) = node.children.get(name) {
            return Some(Target::Module(child));
        }
        if node.module.items.contains(name) {
            return Some(Target::Item(module));
        }
        let uses = &node.module.uses;
        if let Some(import) = uses.iter().find(|import| import.name == name) {
            // A crate of the same name as what is imported from it is not looked for here.
            return (import.path[0] != name).then(|| self.resolve(module, &import.path, depth))?;
        }
        uses.iter()
            .filter(|import| import.name == "*")
            .find_map(|import| match self.resolve(module, &import.path, depth)? {
                Target::Module(from) => self.name(from, name, depth),
                Target::Item(_) => None,
            })
    }
}

fn find(file: &Path, sources: &BTreeMap<PathBuf, Source>) -> Result<Module, String> {
    match sources.get(file) {
        Some(source) => Ok(source.module.clone()),
        None => Err(format!(
            "{}: a module's file that is not there",
            file.display()
        )),
    }
}

/// Without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "file -> file" for each edge of a crate of these files, of which the first is the root.
    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files
            .iter()
            .map(|(name, text)| (PathBuf::from(name), Source::parse(text).unwrap()))
            .collect();
        let tree = Crate::new(Path::new(files[0].0), &sources).unwrap();
        let mut found = Vec::new();
        for (from, to) in tree.edges() {
            found.extend(
                to.iter()
                    .map(|to| format!("{} -> {}", from.display(), to.display())),
            );
        }
        found.sort();
        found
    }

    #[test]
    fn paths_lead_to_files() {
        let found = edges(&[
            ("s/lib.rs", "mod a; mod b; fn f() { a::g(); }"),
            (
                "s/a.rs",
                "mod c; use crate::b::B; pub fn g() { c::h(self::c::I) }",
            ),
            (
                "s/a/c.rs",
                "use super::super::b; pub fn h() { b::j(); super::g() }",
            ),
            ("s/b.rs", "pub struct B; pub fn j() {}"),
        ]);
        assert_eq!(
            found,
            [
                "s/a.rs -> s/a/c.rs",
                "s/a.rs -> s/b.rs",
                "s/a/c.rs -> s/a.rs",
                "s/a/c.rs -> s/b.rs",
                "s/lib.rs -> s/a.rs"
            ]
        );
    }

    #[test]
    fn a_reexport_is_no_use_of_its_own() {
        let parent = "mod x; mod y; pub use x::X; pub use y::*; pub struct P;";
        let found = edges(&[
            ("p.rs", parent),
            ("x.rs", "use super::{P, Y}; pub struct X;"),
            ("y.rs", "use super::P; pub struct Y;"),
        ]);
        assert_eq!(found, ["x.rs -> p.rs", "x.rs -> y.rs", "y.rs -> p.rs"]);
        // But one whose name the file itself uses is.
        let found = edges(&[("p.rs", "mod x; pub use x::X; fn f(_: X) {}"), ("x.rs", "")]);
        assert_eq!(found, ["p.rs -> x.rs"]);
    }

    #[test]
    fn other_crates_and_tests_are_none() {
        let found = edges(&[
            (
                "l.rs",
                "mod a; use other::a::X; use kernel::prelude::*; fn f() { std::mem::take() }",
            ),
            (
                "a.rs",
                "#[cfg(test)] mod tests { use crate::f; fn g() { crate::f() } } pub struct A;",
            ),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn what_macros_make() {
        let found = edges(&[
            (
                "l.rs",
                "mod a; mod b; module! { type: a::A, params: { p: u8 } }",
            ),
            (
                "a.rs",
                "fn f() { crate::module_parameters::p(); crate::b::made() } struct A;",
            ),
            ("b.rs", "make! { made }"),
        ]);
        assert_eq!(found, ["a.rs -> b.rs", "l.rs -> a.rs"]);
    }

    #[test]
    fn globs_and_modules_elsewhere() {
        let found = edges(&[
            ("g/l.rs", "#[path = \"../p/mod.rs\"] mod wire; mod a;"),
            (
                "g/a.rs",
                "use crate::wire::ioctl::*; use crate::wire; fn f() { wire::T::new() }",
            ),
            ("p/mod.rs", "pub mod ioctl; pub struct T;"),
            ("p/ioctl.rs", "use super::T;"),
        ]);
        assert_eq!(
            found,
            [
                "g/a.rs -> p/ioctl.rs",
                "g/a.rs -> p/mod.rs",
                "p/ioctl.rs -> p/mod.rs"
            ]
        );
    }
}
