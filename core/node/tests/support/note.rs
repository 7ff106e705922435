//! What a host would do for a node, written down.

use slashnet_node::Output;

use super::Place;

impl Place {
    /// What a host writes down.
    pub(super) fn note(&mut self, output: Output) {
        match output {
            Output::LaneRow { index, row } => {
                match row {
                    Some(row) => self.rows.insert(index, row),
                    None => self.rows.remove(&index),
                };
            }
            Output::LinksChanged => self.links_changed += 1,
            Output::RelayOpen { program, .. } => self.relays.push(program),
            Output::OpenDoor {
                program, serial, ..
            } => self.doors.push((program, serial)),
            Output::RelayRoute {
                session, targets, ..
            } => {
                self.routes.remove(&session);
                if !targets.is_empty() {
                    self.routes.insert(session, targets);
                }
            }
            other => panic!("{other:?}"),
        }
    }
}
