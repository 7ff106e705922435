//! `slashnet rights`: who may do what, and how that is changed while the node runs.

use std::path::Path;

use abi::system::{DenialRow, QueryKind, Reply, Request, RightsLayer, RightsList, Rows, SetRights};
use abi::{Decode, Encode, Errno, Nd};
use rights::{Operation, Rule, Rules, UserPattern, Verdict, text};
use serde_json::Value;

use crate::command::{GlobalOptions, RightsOptions, RightsVerb};
use crate::config;
use crate::daemon::{Daemon, unexpected};
use crate::failure::{During, Failure, Outcome};
use crate::output;
use crate::table::{self, Cell, Table, TableOptions};
use crate::users::Users;

/// How often a change is tried again when somebody else changes the rules at the same time.
const TRIES: usize = 8;

/// Does what the command line says.
pub(crate) fn run(global: &GlobalOptions, options: &RightsOptions) -> Outcome {
    match &options.verb {
        None => list(&Daemon::of(global)?, options.table),
        Some(RightsVerb::List(table)) => {
            let json = table.json || options.table.json;
            list(&Daemon::of(global)?, TableOptions { json })
        }
        Some(RightsVerb::Denials(table)) => {
            let json = table.json || options.table.json;
            denials(&Daemon::of(global)?, TableOptions { json })
        }
        Some(RightsVerb::Add { at, rule }) => add(&Daemon::of(global)?, *at, &rule.join(" ")),
        Some(RightsVerb::Remove { number }) => remove(&Daemon::of(global)?, *number),
        Some(RightsVerb::Reload { config }) => reload(&Daemon::of(global)?, config),
        Some(RightsVerb::Check { file }) => check(file),
    }
}

/// The rules of the node: those made while it ran, and those of its config.
struct Known {
    generation: u64,
    running: Vec<Rule>,
    config: Vec<Rule>,
}

impl Known {
    fn of(daemon: &Daemon) -> Outcome<Self> {
        let Reply::Rights(list) = daemon.ask("rights", &Request::Rights)? else {
            return Err(unexpected("rights"));
        };
        let RightsList {
            generation,
            running,
            config,
        } = list;
        let rules = |bytes: &[u8]| Rules::from_bytes(bytes).map(|rules| rules.list().to_vec());
        let (Ok(running), Ok(config)) = (rules(&running), rules(&config)) else {
            return Err(unexpected("rights"));
        };
        Ok(Self {
            generation,
            running,
            config,
        })
    }
}

fn list(daemon: &Daemon, options: TableOptions) -> Outcome {
    let known = Known::of(daemon)?;
    let mut table = Table::new(&["RULE", "VERDICT", "WHO", "OPERATIONS", "PATH", "AS", "FROM"]);
    let running = known.running.iter().map(|rule| (rule, "running"));
    let config = known.config.iter().map(|rule| (rule, "config"));
    for (number, (rule, from)) in (1_u16..).zip(running.chain(config)) {
        table.row(row(number, rule, from));
    }
    table.row(vec![
        Value::Null.into(),
        "allow".into(),
        "*@*".into(),
        "all".into(),
        "/".into(),
        Value::Null.into(),
        "default".into(),
    ]);
    table.print(options)
}

fn row(number: u16, rule: &Rule, from: &str) -> Vec<Cell> {
    let verdict = match rule.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    };
    let who = format!("{}@{}", rule.user, rule.node);
    let shown = match rule.user {
        UserPattern::Anybody => who.clone(),
        UserPattern::User(uid) => format!("{}@{}", Users.name(uid), rule.node),
    };
    let identity = rule.identity.as_ref();
    let identity = identity.map_or(Value::Null.into(), |identity| {
        Cell::shown_as(identity.to_string(), Users.name(identity.uid))
    });
    vec![
        number.into(),
        verdict.into(),
        Cell::shown_as(who, shown),
        rule.operations.to_string().into(),
        table::name(&rule.prefix),
        identity,
        from.into(),
    ]
}

fn add(daemon: &Daemon, at: Option<u16>, text: &str) -> Outcome {
    let rule = text::rule(text, &Users).map_err(|bad| Failure::usage("RULE", bad.to_string()))?;
    let mut number = 0;
    let known = change(daemon, |running| {
        let place = at.map_or(running.len(), |at| usize::from(at) - 1);
        if place > running.len() {
            let why = format!(
                "found {}, expected 1 to {}: rules of the config file come after those added here",
                place + 1,
                running.len() + 1
            );
            return Err(Failure::usage("--at", why));
        }
        running.insert(place, rule.clone());
        number = place + 1;
        Ok(())
    })?;
    output::line(format!("rule {number}: {rule}"))?;
    let earlier = &known.running[..number - 1];
    if let Some(shadow) = earlier.iter().position(|earlier| earlier.covers(&rule)) {
        let shadow = shadow + 1;
        output::remark(&format!(
            "rule {shadow} is tried first and decides all of this: rule {number} never does (see --at)"
        ));
    }
    Ok(())
}

fn remove(daemon: &Daemon, number: u16) -> Outcome {
    let place = usize::from(number) - 1;
    let mut removed = String::new();
    let config = Known::of(daemon)?.config.len();
    change(daemon, |running| {
        if place >= running.len() + config {
            let why = format!("there are {} rules", running.len() + config);
            return Err(Failure::new(format!("rule {number}"), why));
        }
        if place >= running.len() {
            let why = "this rule is in the config file: change it there, then 'slashnet rights reload FILE'";
            return Err(Failure::new(format!("rule {number}"), why));
        }
        removed = running.remove(place).to_string();
        Ok(())
    })?;
    output::line(format!("removed: {removed}"))
}

/// Changes the rules that can be changed, again if somebody else came first.
fn change(daemon: &Daemon, mut how: impl FnMut(&mut Vec<Rule>) -> Outcome) -> Outcome<Known> {
    for _ in 0..TRIES {
        let mut known = Known::of(daemon)?;
        how(&mut known.running)?;
        let rules = Rules::new(known.running.clone()).during("rights")?;
        if set(daemon, known.generation, RightsLayer::Running, &rules)? {
            return Ok(known);
        }
    }
    Err(Failure::new("rights", Errno::EAGAIN))
}

/// Whether nobody else came first.
fn set(daemon: &Daemon, generation: u64, layer: RightsLayer, rules: &Rules) -> Outcome<bool> {
    let rules = rules.to_bytes().map_err(Errno::from).during("rights")?;
    let request = Request::SetRights(SetRights {
        generation,
        layer,
        rules,
    });
    daemon.ask_unless("rights", &request, Errno::ESTALE)
}

fn reload(daemon: &Daemon, path: &Path) -> Outcome {
    let rules = rules_of(path)?;
    for _ in 0..TRIES {
        let known = Known::of(daemon)?;
        if set(daemon, known.generation, RightsLayer::Config, &rules)? {
            return output::line(format!("{} of {}", counted(&rules), path.display()));
        }
    }
    Err(Failure::new("rights", Errno::EAGAIN))
}

fn check(path: &Path) -> Outcome {
    let rules = rules_of(path)?;
    output::line(format!("{}: {}, all good", path.display(), counted(&rules)))
}

/// The rules of a config file, or of one with a rule in each line.
fn rules_of(path: &Path) -> Outcome<Rules> {
    if path
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        config::rights(path)
    } else {
        let text = std::fs::read_to_string(path).during(path.display())?;
        let bad = |(line, bad): (usize, text::BadRule)| {
            Failure::usage(format!("{}:{line}", path.display()), bad.to_string())
        };
        text::rules(&text, &Users).map_err(bad)
    }
}

fn counted(rules: &Rules) -> String {
    match rules.list().len() {
        1 => "1 rule".to_owned(),
        count => format!("{count} rules"),
    }
}

fn denials(daemon: &Daemon, options: TableOptions) -> Outcome {
    let mut table = Table::new(&["USER", "NODE", "OPERATION", "PATH", "RULE", "TIMES", "AGO"]);
    daemon.rows(QueryKind::Denials, Nd::LOCAL, |rows| {
        if let Rows::Denials(rows) = rows {
            rows.iter().for_each(|row| table.row(denial(row)));
        }
    })?;
    table.print(options)
}

fn denial(row: &DenialRow) -> Vec<Cell> {
    let operation = Operation::from_number(row.operation).map_or("-", Operation::word);
    vec![
        Cell::shown_as(row.user.0, Users.name(row.user)),
        row.node.as_str().into(),
        operation.into(),
        table::name(&row.path),
        row.rule
            .map_or(Value::Null, |rule| (rule + 1).into())
            .into(),
        row.count.into(),
        table::passed(row.ago),
    ]
}
