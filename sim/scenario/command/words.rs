//! A command line as the words a shell would make of it.
//!
//! Quotes and backslashes are understood; what a shell would expand, chain or redirect is refused, because nothing here runs a shell.

/// Splits a line into words, or says what cannot be there.
pub(super) fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => quoted(&mut chars, '\'', word.get_or_insert_default())?,
            '"' => quoted(&mut chars, '"', word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(chars.next().ok_or("a backslash at the end of the line quotes nothing")?),
            '|' | '&' | ';' | '<' | '>' | '$' | '`' | '*' | '?' | '(' | ')' => {
                return Err(format!(
                    "`{c}` is for a shell, and there is none: expected one plain command (quote it if it is meant as it stands)"
                ));
            }
            c if c.is_control() => return Err(format!("the character {} cannot be in a command", c.escape_unicode())),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Takes the rest of a quoted part.
fn quoted(chars: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            // Inside double quotes POSIX lets a backslash quote only these.
            '\\' if quote == '"' => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            '$' | '`' if quote == '"' => return Err(format!("`{c}` is for a shell, and there is none")),
            c => word.push(c),
        }
    }
    Err(format!("a {quote} is opened and not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off_as_a_shell_does() {
        let line = r#"kubectl annotate nodes master1 a/b="192.168.0.2" -p '{"x": "y z"}' "" d\ e"#;
        let expected = ["kubectl", "annotate", "nodes", "master1", "a/b=192.168.0.2", "-p", r#"{"x": "y z"}"#, "", "d e"];
        assert_eq!(words(line).unwrap(), expected);
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused() {
        for line in ["ping -c 1 192.0.2.1; reboot", "curl $HOME", "a | b", "echo \"$(id)\"", "x > y", "'open", "end\\", "a\u{7}"] {
            assert!(words(line).is_err(), "{line}");
        }
    }
}
