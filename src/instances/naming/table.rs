//! Comma-separated values as spreadsheets and Python's `csv` read and write them.

use anyhow::{Result, bail};

/// The rows of a table. Fields may stand in double quotes, in which commas and ends
/// of lines are part of the field and a quote is written twice. Empty lines are left
/// out.
///
/// # Errors
/// A quote that is never closed.
pub fn rows(text: &str) -> Result<Vec<Vec<String>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted && chars.peek() == Some(&'\n') => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            char => field.push(char),
        }
    }
    if quoted {
        bail!("a quoted field has no end");
    }
    row.push(field);
    rows.push(row);
    rows.retain(|row| row.iter().any(|field| !field.is_empty()));
    Ok(rows)
}

/// A field, in quotes only where it holds a comma, a quote or an end of line.
pub fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        let text = "a,\"b, \"\"c\"\"\",\r\n\n1,,\"x\ny\"\n2";
        let read = rows(text).unwrap();
        assert_eq!(read, [vec!["a", "b, \"c\"", ""], vec!["1", "", "x\ny"], vec!["2"]]);
        assert_eq!(field("b, \"c\""), "\"b, \"\"c\"\"\"");
        assert_eq!(field("plain"), "plain");
        assert!(rows("a,\"b").is_err());
    }
}
