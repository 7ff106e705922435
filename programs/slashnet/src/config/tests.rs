//! Config files that are taken and refused.

use clap::CommandFactory;

use super::*;
use crate::command::Cli;
use crate::command::examples::SERVE_SERIAL_EXAMPLES;

#[test]
fn a_full_file_says_all_that_options_say() {
    let text = r#"
        name = "lab2"
        dir = "/run/lab2"
        link = ["eth0,mtu=9000", "192.0.2.7"]
        port = 5000
        detect = "fast"
        one-port = true
        mount = "/net"
        detach = true
        log = "debug"
        rights = [
            "allow 1000@lab1 read,write /dev/ser1", # names of users would do, too
            "deny *@* all /",
        ]

        [[serial]]
        device = "/dev/ttyUSB0"
        path = "/dev/ser1"
        baud = 115200
        frame = "8n1"
        flow = "rtscts"
        mode = "666"

        [[export]]
        directory = "/srv"
        path = "/srv"
        read-only = true
    "#;
    let config = parse(text).map_err(|complaint| complaint.text).unwrap();
    assert_eq!(config.name.as_deref(), Some("lab2"));
    assert_eq!(config.links, ["eth0,mtu=9000", "192.0.2.7"]);
    assert_eq!((config.detect, config.one_port), (Some(Detect::Fast), true));
    assert_eq!((config.port, config.detach), (Some(5000), true));
    assert_eq!(config.mount, Some(Mount::At("/net".into())));
    assert_eq!(
        config.serials,
        ["/dev/ttyUSB0=/dev/ser1,115200,8n1,rtscts,mode=666"
            .parse()
            .unwrap()]
    );
    assert_eq!(config.exports, ["/srv=/srv,ro".parse().unwrap()]);
    let rules = ["allow 1000@lab1 read,write /dev/ser1", "deny *@* all /"];
    assert_eq!(config.rights, rules);
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(
        parse("").map_err(|complaint| complaint.text),
        Ok(Config::default())
    );
    let unmounted = parse("mount = false")
        .map_err(|complaint| complaint.text)
        .unwrap();
    assert_eq!(unmounted.mount, Some(Mount::Nowhere));
}

/// Line, file, and a part of what is said about it.
const BAD: &[(usize, &str, &str)] = &[
    (1, "name = 5", "found integer `5`, expected a string"),
    (
        2,
        "\nnmae = 'lab1'",
        "found unknown key `nmae`, expected one of `name`, `dir`",
    ),
    (1, "name = 'lab 1'", "found name 'lab 1', expected"),
    (1, "port = 0", "found port 0, expected 1 to 65535"),
    (
        1,
        "port = 70000",
        "found integer `70000`, expected a whole number from 1 to 65535",
    ),
    (
        1,
        "port = 'high'",
        "found string \"high\", expected a whole number",
    ),
    (
        3,
        "\n\nmount = true",
        "found boolean `true`, expected a directory or false",
    ),
    (
        1,
        "mount = 7",
        "found integer `7`, expected a directory or false",
    ),
    (2, "\nlog = '=='", "found '==', expected error, warn"),
    (2, "link = [\n'']", "found link '', expected"),
    (
        2,
        "link = [\n'eth0,cipher=off']",
        "link 'eth0': found 'cipher=off' on a link that is not declared trusted",
    ),
    (1, "detect = 'quick'", "found 'quick', expected fast"),
    (
        1,
        "link = 'eth0'",
        "found string \"eth0\", expected a sequence",
    ),
    (
        3,
        "[[serial]]\ndevice = '/dev/ttyS0'\npath = 'ser1'",
        "begins with '/'",
    ),
    (
        1,
        "[[serial]]\npath = '/dev/ser1'",
        "without the key `device`",
    ),
    (
        4,
        "[[serial]]\ndevice='/d'\npath='/dev/ser1'\nbaud=0",
        "found '0', expected a speed",
    ),
    (
        4,
        "[[serial]]\ndevice='/d'\npath='/dev/ser1'\nmode='9'",
        "found 'mode=9', expected",
    ),
    (
        2,
        "[[export]]\ndirectory = 1",
        "found integer `1`, expected",
    ),
    (
        4,
        "[[export]]\ndirectory='/s'\npath='/s'\nro=true",
        "found unknown key `ro`",
    ),
    (
        2,
        "[[export]]\ndirectory='/a=b'\npath='/s'",
        "found '/a=b', expected",
    ),
    (3, "[[export]]\ndirectory='/a'\npath='/a,b'", "without ','"),
    (1, "name = 'a", "expected"),
    (
        3,
        "rights = [\n'deny *@* all /',\n'allow *@lab1 reed /']",
        "found 'reed', expected operations",
    ),
    (2, "name = 'a'\nname = 'b'", "found a key twice"),
    (
        4,
        "[[serial]]\ndevice='/d'\npath='/s'\nframe='9n1'",
        "found '9n1', expected",
    ),
    (
        4,
        "[[serial]]\ndevice='/d'\npath='/s'\nflow='dtr'",
        "found unknown word `dtr`, expected",
    ),
];

#[test]
fn every_bad_file_is_refused_with_line_found_and_expected() {
    for (line, text, expected) in BAD {
        let complaint = parse(text).expect_err(text);
        assert!(
            complaint.text.contains(expected),
            "{text:?}: {}",
            complaint.text
        );
        let found = 1 + text[..complaint.at.start].matches('\n').count();
        assert_eq!(found, *line, "{text:?}: {}", complaint.text);
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_with_its_line() {
    let refused = refused_by_line(b"name = 'a'\nlog = '\xff'\n").unwrap_err();
    assert_eq!(
        refused,
        (2, "found byte 0xff, expected text in UTF-8".to_owned())
    );
}

/// The options of `up` that the file has under another name, or that make no sense in it.
const ELSEWHERE: [(&str, Option<&str>); 5] = [
    ("right", Some("rights")),
    ("no-mount", Some("mount")),
    ("config", None),
    ("help", None),
    ("version", None),
];

#[test]
fn every_option_of_up_and_of_a_serial_port_has_a_key() {
    let is_known = |text: &str| !parse(text).is_err_and(|bad| bad.text.contains("unknown key"));
    assert!(!is_known("nonsense = []"));
    let mut command = Cli::command();
    command.build();
    let up = command.find_subcommand("up").unwrap();
    let options = up
        .get_arguments()
        .filter(|argument| !argument.is_hide_set());
    let options: Vec<&str> = options.filter_map(|argument| argument.get_long()).collect();
    assert!(
        options.contains(&"serial") && options.contains(&"log"),
        "{options:?}"
    );
    for option in options {
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == option);
        let key = elsewhere.map_or(Some(option), |(_, key)| *key);
        assert!(
            key.is_none_or(|key| is_known(&format!("{key} = []"))),
            "{option}"
        );
    }
    let words =
        SERVE_SERIAL_EXAMPLES.split(|letter: char| !letter.is_ascii_lowercase() && letter != '=');
    let keys: std::collections::BTreeSet<&str> = words
        .filter_map(|word| word.split_once('='))
        .map(|(key, _)| key)
        .filter(|key| !key.is_empty())
        .collect();
    assert!(
        keys.contains("share") && keys.contains("replug"),
        "{keys:?}"
    );
    for key in keys {
        assert!(is_known(&format!("[[serial]]\n{key} = []")), "{key}");
    }
}

#[test]
fn sharing_and_replugging_of_a_port_are_options_of_the_file() {
    let port = "[[serial]]\ndevice='/d'\npath='/s'\n";
    let text = format!("{port}share = 'queue'\nreplug = 'wait'");
    let config = parse(&text).map_err(|bad| bad.text).unwrap();
    assert_eq!(
        config.serials,
        ["/d=/s,share=queue,replug=wait".parse().unwrap()]
    );
    for bad in ["share = 'some'", "replug = 'later'"] {
        let refused = parse(&format!("{port}{bad}")).expect_err(bad);
        assert!(refused.text.starts_with("found '"), "{}", refused.text);
    }
}
