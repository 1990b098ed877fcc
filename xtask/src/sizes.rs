// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause

//! Files, functions and lines that are too long.

use crate::source::Function;

pub const FILE_LINES: usize = 600;
pub const FUNCTION_LINES: usize = 60;
pub const TEST_FUNCTION_LINES: usize = 120;
pub const COLUMNS: usize = 100;

/// The number of lines, if that is too many.
pub fn long_file(text: &str) -> Option<usize> {
    Some(text.lines().count()).filter(|&lines| lines > FILE_LINES)
}

/// How long a function may be, if it is longer. `test`: the whole file is of tests.
pub fn long_function(function: &Function, test: bool) -> Option<usize> {
    let limit = if test || function.test {
        TEST_FUNCTION_LINES
    } else {
        FUNCTION_LINES
    };
    (function.lines > limit && !function.table).then_some(limit)
}

/// The number of the first line that is too wide. Lines that cannot be wrapped are not: rows of
/// Markdown's tables, and what has no space to wrap at.
pub fn wide_line(text: &str, markdown: bool) -> Option<usize> {
    let wide = |line: &str| {
        let unbroken = line
            .split(' ')
            .any(|word| word.chars().count() > COLUMNS - 10);
        line.chars().count() > COLUMNS && !unbroken && !(markdown && line.starts_with('|'))
    };
    text.lines().position(wide).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        assert_eq!(long_file(&"a\n".repeat(600)), None);
        assert_eq!(long_file(&"a\n".repeat(601)), Some(601));
    }

    #[test]
    fn functions() {
        let function = |lines, test, table| Function {
            name: "f".to_owned(),
            lines,
            test,
            table,
        };
        assert_eq!(long_function(&function(60, false, false), false), None);
        assert_eq!(long_function(&function(61, false, false), false), Some(60));
        assert_eq!(long_function(&function(61, false, true), false), None);
        assert_eq!(long_function(&function(120, true, false), false), None);
        assert_eq!(long_function(&function(121, false, false), true), Some(120));
    }

    #[test]
    fn lines() {
        assert_eq!(wide_line(&format!("a\n{}é", "ab ".repeat(33)), false), None);
        assert_eq!(
            wide_line(&format!("a\n{}éé", "ab ".repeat(33)), false),
            Some(2)
        );
        let row = format!("| {}|", "ab ".repeat(40));
        assert_eq!(
            (wide_line(&row, true), wide_line(&row, false)),
            (None, Some(1))
        );
        assert_eq!(wide_line(&"a".repeat(200), false), None);
    }
}
