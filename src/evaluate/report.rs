//! The report: one page that needs no other file and no network.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::plan::Better;
use super::summary::{MADE_BY, Summary};
use super::views::SliceView;
use crate::files::{SEAL, is_sealed, sealed};

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");

/// The page of a summary, with the slices of some files.
pub fn report(summary: &Summary, views: &[SliceView]) -> String {
    let scores: Vec<Value> = summary
        .kind
        .scores()
        .iter()
        .map(|score| {
            let better = match score.better {
                Some(Better::Higher) => "higher",
                Some(Better::Lower) => "lower",
                None => "",
            };
            json!({"name": score.name, "better": better, "meaning": score.meaning})
        })
        .collect();
    let views: Vec<Value> = views
        .iter()
        .map(|view| {
            let pictures: Vec<String> =
                view.pictures.iter().map(|picture| STANDARD.encode(picture)).collect();
            json!({
                "name": view.name,
                "height": view.size[0],
                "width": view.size[1],
                "slices": view.slices,
                "raw": view.has_raw,
                "pictures": pictures,
            })
        })
        .collect();
    let data = json!({
        "summary": summary.json(),
        "scores": scores,
        "classes": summary.classes(),
        "order": summary.worst_first(),
        "views": views,
    });
    // Nothing in the data may end the element that holds it.
    let data = data.to_string().replace('<', "\\u003c");
    let page = PAGE
        .replace("{{generator}}", MADE_BY)
        .replace("{{checksum}}", SEAL)
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        .replace("{{data}}", &data);
    sealed(&page)
}

/// Whether a text is a report of ours that nobody has changed.
pub fn is_report(text: &str) -> bool {
    text.contains(&format!("<meta name=\"generator\" content=\"{MADE_BY}\">"))
        && is_sealed(text, "<meta name=\"checksum\" content=\"")
}
