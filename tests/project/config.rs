//! The configuration tree: the same values as PyYAML, positions, overrides, warnings.

use crate::support::fixture;
use crate::support::program::script;
use unet3d::config::{Node, Parameter, Tree, YamlValue};

fn parse(yaml: &str) -> Tree {
    Tree::parse(yaml, "file.yaml", &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn fails(yaml: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    Tree::parse(yaml, "file.yaml", &overrides).unwrap_err().to_string()
}

#[test]
fn reads_what_pyyaml_reads() {
    let path = fixture("config/values.yaml");
    let theirs = parse(&script("print_yaml.py", [&path]));
    assert_eq!(Tree::read(&path, &[]).unwrap().root, theirs.root);
}

#[test]
fn every_value_knows_its_line_and_column() {
    let tree = parse("a: 1\nb:\n  - x\n  - c: 2\n    d: [3, 4]\n");
    let at = |node: &Node| (node.path.clone(), node.place.to_string());
    let list = tree.root.get("b").unwrap().items().unwrap();
    assert_eq!(at(tree.root.get("a").unwrap()), ("a".into(), "file.yaml:1:1".into()));
    assert_eq!(at(&list[0]), ("b[0]".into(), "file.yaml:3:5".into()));
    let d = list[1].get("d").unwrap();
    assert_eq!(at(d), ("b[1].d".into(), "file.yaml:5:5".into()));
    assert_eq!(at(&d.items().unwrap()[1]), ("b[1].d[1]".into(), "file.yaml:5:12".into()));
}

#[test]
fn overrides_replace_and_add() {
    let set = |options: &[&str]| {
        let options: Vec<String> = options.iter().map(|text| text.to_string()).collect();
        let tree = Tree::parse("a: {b: 1, l: [5, {c: 6}]}\n", "file.yaml", &options).unwrap();
        tree.root.to_json()
    };
    assert_eq!(set(&["a.b=2"]), r#"{"a": {"b": 2, "l": [5, {"c": 6}]}}"#);
    assert_eq!(set(&["a.l.1.c=[7, 8]"]), r#"{"a": {"b": 1, "l": [5, {"c": [7, 8]}]}}"#);
    assert_eq!(
        set(&["x.y.z=yes", "x.y.w="]).split("\"x\"").nth(1).unwrap(),
        r#": {"y": {"z": true, "w": null}}}"#
    );
    for (option, words) in [
        ("a.b", "dotted.key=value"),
        ("a.b.c=1", "the integer 1"),
        ("a.l.2=1", "no index of a list of 2"),
        ("a..b=1", "empty part"),
        ("a.b=[", "YAML"),
    ] {
        let message = fails("a: {b: 1, l: [5, {c: 6}]}\n", &[option]);
        assert!(message.contains(words) && message.contains("--set"), "{option}: {message}");
    }
}

#[test]
fn broken_files_are_errors_with_a_place() {
    for (yaml, words) in [
        ("a: [1, 2\nb: 3\n", "YAML"),
        ("- 1\n- 2\n", "section"),
        ("", "section"),
        ("a: 1\na: 2\n", "YAML"),
        ("a: &x [*x, *x]\n", "YAML"),
        ("a: .nan\n", "YAML"),
    ] {
        let message = fails(yaml, &[]);
        assert!(message.starts_with("file.yaml"), "{message}");
        assert!(message.contains(words), "{yaml}: {message}");
    }
    let missing = Tree::read(std::path::Path::new("no/such.yaml"), &[]).unwrap_err().to_string();
    assert!(missing.contains("looked for /") && missing.contains("no/such.yaml"), "{missing}");
}

#[test]
fn mistakes_in_yaml_are_explained_in_terms_of_the_file() {
    let deep = format!("a: {}{}", "[".repeat(3000), "]".repeat(3000));
    let mut many = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, above) in ('b'..='h').zip('a'..) {
        many += &format!("{name}: &{name} [{}]\n", vec![format!("*{above}"); 9].join(", "));
    }
    for (yaml, place, words) in [
        ("a: 1\nm:\n  x: 1\n  y: 2\n  x: 3\n", ":5:3", "`x` stands twice, in lines 3 and 5"),
        ("a: {x: 1, x: 2}\n", ":1:11", "`x` stands twice, in line 1"),
        ("a:\n\tb: 1\n", ":2:", "a tab stands here"),
        ("a:\n  b: 1\n c: 2\n", ":3:2", "begin in the same column"),
        ("a: b: c\n", ":1:5", "second `: ` in one line"),
        ("a: [1, 2\nb: 3\n", ":2:2", "may not be closed"),
        ("a: 'b\nc: 1\n", ":1:4", "quote that begins here is not closed"),
        ("a: @b\n", ":1:4", "unless it stands in quotes"),
        ("a: *b\n", ":1:4", "has to stand in quotes"),
        ("a: &x [*x]\n", ":1:8", "no value can contain itself"),
        ("a: !!python/object:os.system x\n", ":1:", "tags"),
        ("a: !thing 3\n", ":1:", "tags"),
        ("a: 1\n---\nb: 2\n", ":3:1", "remove the line `---`"),
        ("? [1, 2]\n: 3\n", ":1:3", "a key is one word"),
        ("a: .nan\n", ":1:4", "`.nan` is no number"),
        (&deep, ":1:", "nested too deep"),
        (&many, ":", "too large for a configuration"),
    ] {
        let message = fails(yaml, &[]);
        assert!(message.starts_with(&format!("file.yaml{place}")), "{message}");
        assert!(message.contains(words), "{yaml}: {message}");
        for jargon in ["Options", "from_str", "<input>", "\n", "policy", "budget"] {
            assert!(!message.contains(jargon), "{message}");
        }
    }
    // A merged section is overridden, not doubled.
    let tree = parse("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\n");
    assert_eq!(tree.root.at("c.y").unwrap().value, YamlValue::Integer(3));
    assert_eq!(tree.root.at("c.x").unwrap().value, YamlValue::Integer(1));
}

#[test]
fn what_is_no_text_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
    write("utf16", &[0xff, 0xfe, b'a', 0, b':', 0]);
    write("latin1", b"a: 1\nb: caf\xe9\n");
    write("binary", &[b'a', 0, 1, 2]);
    let fifo = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
    assert!(fifo.success());
    for (path, words) in [
        (path("utf16"), "save it as UTF-8"),
        (path("latin1"), "line 2 has a character in another encoding"),
        (path("binary"), "is no text"),
        (path("fifo"), "is a FIFO"),
        ("/dev/zero".into(), "device"),
        (folder.path().into(), "is a directory"),
    ] {
        let message = Tree::read(&path, &[]).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        assert!(message.starts_with(&path.display().to_string()), "{message}");
    }
    write("mark", b"\xef\xbb\xbfa: 1\n");
    assert!(Tree::read(&path("mark"), &[]).unwrap().root.get("a").is_some());
}

const PATH: &[Parameter] = &[Parameter::path("folder", "").required()];

#[test]
fn a_tilde_stands_for_the_home_directory() {
    let home = std::path::PathBuf::from(std::env::var_os("HOME").expect("tests have a home"));
    for (text, wanted) in [
        ("~/a/b", home.join("a/b")),
        ("'~'", home.clone()),
        ("/c/~/d", "/c/~/d".into()),
        ("e~", "e~".into()),
    ] {
        let tree = parse(&format!("folder: {text}"));
        assert_eq!(tree.root.section(PATH).unwrap().path("folder"), wanted);
    }
    let message = parse("folder: ~other/a").root.section(PATH).unwrap_err().to_string();
    assert!(message.contains("`~other`") && message.contains("in full"), "{message}");
    let message = parse("folder: 3").root.section(PATH).unwrap_err().to_string();
    assert!(message.contains("a path is wanted"), "{message}");
}

const TABLE: &[Parameter] = &[
    Parameter::flag("flag", true, ""),
    Parameter::integer("count", 3, "").within(1.0, 9.0),
    Parameter::probability("chance", 0.5, ""),
    Parameter::choice("mode", "one", &["one", "two"], ""),
    Parameter::numbers("range", &[0.0, 1.0], "").of_length(2),
    Parameter::per_axis("halo", &[4, 8, 8], ""),
    Parameter::texts("names", "raw", ""),
    Parameter::text("path", "", "").required(),
];

#[test]
fn sections_have_defaults_and_check_types_and_ranges() {
    let tree = parse("{path: p, count: null, halo: 2, names: [a, b]}");
    let section = tree.root.section(TABLE).unwrap();
    assert!(section.flag("flag"));
    assert_eq!(section.integer("count"), 3);
    assert_eq!(section.per_axis("halo"), [2, 2, 2]);
    assert_eq!(section.texts("names"), ["a", "b"]);
    assert_eq!(section.numbers("range"), [0.0, 1.0]);
    assert!(section.is_null("count") && !section.is_null("chance"));
    assert!(tree.warnings().is_empty());

    for (yaml, words) in [
        ("{count: 3}", "`path` is missing"),
        ("{path: p, flag: 1}", "true or false"),
        ("{path: p, count: 10}", "from 1 to 9"),
        ("{path: p, count: 1.5}", "an integer"),
        ("{path: p, chance: 1.1}", "from 0 to 1"),
        ("{path: p, mode: three}", "one of one, two"),
        ("{path: p, range: [1]}", "2 numbers"),
        ("{path: p, halo: [1, 2]}", "three for z, y and x"),
        ("{path: p, names: []}", "list of texts"),
        ("{path: 7}", "text"),
    ] {
        let tree = parse(yaml);
        let message = tree.root.section(TABLE).unwrap_err().to_string();
        assert!(message.contains(words), "{yaml}: {message}");
        assert!(message.starts_with("file.yaml:1:"), "{message}");
    }
}

#[test]
fn unknown_keys_are_warned_of_once_with_the_nearest_known() {
    let tree = parse("{path: p, moed: one, colour: red}");
    tree.root.section(TABLE).unwrap();
    tree.root.section(TABLE).unwrap();
    let warnings = tree.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("`moed`") && warnings[0].contains("`mode`"), "{warnings:?}");
    assert!(warnings[1].contains("`colour`") && !warnings[1].contains("meant"), "{warnings:?}");
}

#[test]
fn letters_are_text_and_words_are_booleans() {
    let tree =
        parse("axes: [z, y, x, n, Y]\nwords: [yes, No, on, off, True]\nquoted: ['y', \"yes\"]\n");
    let values = |key: &str| -> Vec<YamlValue> {
        tree.root.get(key).unwrap().items().unwrap().iter().map(|node| node.value.clone()).collect()
    };
    let text = |words: &[&str]| -> Vec<YamlValue> {
        words.iter().map(|word| YamlValue::Text(word.to_string())).collect()
    };
    assert_eq!(values("axes"), text(&["z", "y", "x", "n", "Y"]));
    assert_eq!(values("words"), [true, false, true, false, true].map(YamlValue::Flag));
    assert_eq!(values("quoted"), text(&["y", "yes"]));
}
