// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The command that the kernel command line asks for: `init.run=`.
//!
//! `init.run=COMMAND` names a program, `init.run="COMMAND ARGUMENT…"` one with arguments. The
//! kernel's own rule finds where the value ends: at the first blank outside double quotes; double
//! quotes cannot be escaped. Within the value blanks separate the command's words, single quotes
//! keep blanks together and nothing else is special. A shell is asked for by name:
//! `init.run="sh -c 'cd /proc; cat uptime'"`.
//!
//! The last `init.run=` counts, and none of it is looked at after a lone `--`, as in the kernel.

/// The words of the command that `command_line` asks for; empty when it asks for none.
pub fn command(command_line: &str) -> Vec<String> {
    parameters(command_line)
        .into_iter()
        .take_while(|parameter| parameter != "--")
        .filter_map(|parameter| parameter.strip_prefix("init.run=").map(words))
        .last()
        .unwrap_or_default()
}

/// Splits a kernel command line into its parameters, without their double quotes.
fn parameters(command_line: &str) -> Vec<String> {
    split(command_line, '"')
}

/// Splits the value of `init.run=` into words, without their single quotes.
fn words(value: &str) -> Vec<String> {
    split(value, '\'')
}

/// Splits `text` at white space outside of `quote`s, and drops the quotes.
fn split(text: &str, quote: char) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = None;
    let mut quoted = false;
    for c in text.chars() {
        if c == quote {
            quoted = !quoted;
            // An empty pair of quotes is an empty word.
            part.get_or_insert_with(String::new);
        } else if c.is_whitespace() && !quoted {
            parts.extend(part.take());
        } else {
            part.get_or_insert_with(String::new).push(c);
        }
    }
    parts.extend(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_for() {
        for line in [
            "",
            "console=ttyS0 quiet",
            "init.run=",
            "xinit.run=a",
            "-- init.run=a",
        ] {
            assert!(command(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_program_and_its_arguments() {
        assert_eq!(command("quiet init.run=ls panic=-1\n"), ["ls"]);
        assert_eq!(
            command("quiet init.run=\"uname -a\" panic=-1"),
            ["uname", "-a"]
        );
        // The kernel moves a leading quote; both spellings mean the same.
        assert_eq!(command("\"init.run=uname -a\""), ["uname", "-a"]);
    }

    #[test]
    fn single_quotes_keep_words_together() {
        assert_eq!(
            command("init.run=\"sh -c 'cd /; ls' '' x''y\""),
            ["sh", "-c", "cd /; ls", "", "xy"]
        );
    }

    #[test]
    fn quotes_left_open_end_with_the_line() {
        assert_eq!(command("init.run=\"echo 'a b"), ["echo", "a b"]);
    }

    #[test]
    fn the_last_one_counts() {
        assert_eq!(command("init.run=a init.run=b -- init.run=c"), ["b"]);
    }
}
