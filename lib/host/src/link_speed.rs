//! How fast an interface says it is.
#![allow(unsafe_code)]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// `ETHTOOL_GLINKSETTINGS` of linux/ethtool.h.
const GET_SETTINGS: u32 = 0x4c;
/// Words for each of the three lists of modes that follow the settings: more than any kernel has.
const MODE_WORDS: usize = 127;
const UNKNOWN: u32 = u32::MAX;

/// The head of `struct ethtool_link_settings`, and room for what follows it.
#[repr(C)]
struct Settings {
    command: u32,
    megabits: u32,
    modes: [u8; 7],
    mode_words: i8,
    rest: [u8; 32],
    masks: [u32; 3 * MODE_WORDS],
}

/// Speed of an interface in bytes per second. `None` if it does not know one: without a carrier, or where there is
/// nothing to measure it by. May wait for the kernel's lock of all interfaces.
pub(crate) fn of(name: &str) -> Option<u64> {
    // Any socket will do; it belongs to the network namespace of this thread.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let mut settings = Settings {
        command: GET_SETTINGS,
        megabits: 0,
        modes: [0; 7],
        mode_words: 0,
        rest: [0; 32],
        masks: [0; 3 * MODE_WORDS],
    };
    // The first answer only says how many words the lists have, as a negative number.
    ask(&socket, name, &mut settings)?;
    let words = settings.mode_words.checked_neg().filter(|n| *n > 0)?;
    (settings.command, settings.mode_words) = (GET_SETTINGS, words);
    ask(&socket, name, &mut settings)?;
    let megabits = Some(settings.megabits).filter(|m| *m != 0 && *m != UNKNOWN)?;
    Some(u64::from(megabits) * 1_000_000 / 8)
}

fn ask(socket: &UdpSocket, name: &str, settings: &mut Settings) -> Option<()> {
    // SAFETY: an ifreq is plain bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let places = request.ifr_name.split_last_mut()?.1;
    if name.len() > places.len() {
        return None;
    }
    for (place, byte) in places.iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut *settings).cast();
    // SAFETY: the request is whole, its name ends in zero, and the settings have room for as many words as a mode
    // list can have at most.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    (outcome == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_laid_out_as_the_kernel_does_it() {
        assert_eq!(std::mem::offset_of!(Settings, mode_words), 15);
        assert_eq!(std::mem::offset_of!(Settings, masks), 48);
    }

    #[test]
    fn what_has_no_speed_says_none() {
        assert_eq!(of("lo"), None);
        assert_eq!(of("no-such-link"), None);
        assert_eq!(of("a-name-longer-than-any"), None);
    }
}
