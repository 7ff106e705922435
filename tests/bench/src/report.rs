//! The table and the JSON.

use crate::Outcome;
use crate::group::GroupResult;

pub(crate) fn print(group: &GroupResult) {
    println!("\n{} [{}]", group.name, group.unit);
    for subject in &group.subjects {
        let Some(median) = subject.median else {
            let reason = subject.skipped.as_deref().unwrap_or("not measured");
            println!("  {:<34} skipped: {reason}", subject.name);
            continue;
        };
        let ratio = subject
            .ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.2} x"));
        let unit = if group.unit == "Gbit/s" { "s/GB" } else { "us" };
        let cpu = subject
            .cpu
            .map_or_else(String::new, |cpu| format!("cpu {} {unit}", figure(cpu)));
        let verdicts: Vec<_> = subject
            .targets
            .iter()
            .map(|verdict| {
                let word = if verdict.pass { "pass" } else { "MISS" };
                format!("{} ({:.2}): {word}", verdict.target, verdict.reached)
            })
            .collect();
        let line = format!(
            "  {:<34} {:>12} {ratio:>10}   {cpu:<15} {}",
            subject.name,
            figure(median),
            verdicts.join(", ")
        );
        println!("{}", line.trim_end());
        if let Some(reason) = &subject.skipped {
            println!("  {:<34} stopped early: {reason}", "");
        }
    }
}

pub(crate) fn print_json(groups: &[GroupResult]) -> Outcome<()> {
    println!("{}", serde_json::to_string_pretty(groups)?);
    Ok(())
}

/// Three significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
