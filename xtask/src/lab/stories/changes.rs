//! What changes while nodes and programs run.

use super::{WHILE, under_load, works};
use crate::Outcome;
use crate::lab::bed::Bed;
use crate::lab::report::Report;
use crate::lab::wire::Rate;
use std::thread::sleep;

fn bed() -> Outcome<Bed> {
    let bed = Bed::ready(2)?;
    for cable in 0..2 {
        bed.lab().shape(cable, Rate::megabits(200))?;
    }
    Ok(bed)
}

/// As a USB network adapter that is pulled and put back.
pub(super) fn interface_made_again(report: &mut Report) -> Outcome {
    let bed = bed()?;
    let host = bed.client();
    under_load(&bed, report, 0, || {
        host.ip(&["link", "delete", "eth0"])?;
        sleep(WHILE);
        host.plug(0)?;
        host.ip(&["address", "add", &host.address(0), "dev", "eth0"])
    })?;
    works(&bed, report, "~exclusive:eth0").map(drop)
}

/// As a lease that ends, on the side that asks and on the side that answers.
pub(super) fn address_changes(report: &mut Report) -> Outcome {
    let bed = bed()?;
    for (host, new) in [
        (bed.client(), "10.77.1.11/24"),
        (bed.server(), "10.77.1.12/24"),
    ] {
        under_load(&bed, report, 0, || {
            host.ip(&["address", "delete", &host.address(0), "dev", "eth0"])?;
            host.ip(&["address", "add", new, "dev", "eth0"])
        })?;
    }
    works(&bed, report, "~exclusive:eth0").map(drop)
}
