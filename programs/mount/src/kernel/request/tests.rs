//! Requests as the kernel writes them.
// The tests write what the kernel writes.
#![allow(clippy::host_endian_bytes)]

use super::*;

/// A request as the kernel would write it.
fn request(opcode: u32, unique: u64, node: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(40 + body.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&opcode.to_ne_bytes());
    bytes.extend_from_slice(&unique.to_ne_bytes());
    bytes.extend_from_slice(&node.to_ne_bytes());
    for word in [1000u32, 100, 4242, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_lookup_carries_caller_and_name() {
    let bytes = request(1, 7, 3, b"ser1\0");
    let (header, operation) = parse(&bytes).unwrap();
    assert_eq!(unique_of(&bytes), Some(7));
    assert_eq!((header.unique, header.node), (7, 3));
    assert_eq!((header.uid, header.gid, header.pid), (1000, 100, 4242));
    assert_eq!(operation, Operation::Lookup { name: b"ser1" });
}

#[test]
fn a_write_carries_exactly_the_bytes_it_announces() {
    let mut body = Vec::new();
    body.extend_from_slice(&9u64.to_ne_bytes());
    body.extend_from_slice(&4096u64.to_ne_bytes());
    body.extend_from_slice(&3u32.to_ne_bytes());
    body.extend_from_slice(&0u32.to_ne_bytes());
    body.extend_from_slice(&0u64.to_ne_bytes());
    body.extend_from_slice(&0x8001u32.to_ne_bytes());
    body.extend_from_slice(&0u32.to_ne_bytes());
    body.extend_from_slice(b"abc");
    let bytes = request(16, 1, 2, &body);
    let write = Operation::Write {
        handle: 9,
        offset: 4096,
        flags: 0x8001,
        from_cache: false,
        data: b"abc",
    };
    assert_eq!(parse(&bytes).unwrap().1, write);
    assert!(write.is_waited_for());
    body[20] = 1;
    let bytes = request(16, 1, 2, &body);
    assert!(!parse(&bytes).unwrap().1.is_waited_for());
    let short = request(16, 1, 2, &body[..body.len() - 1]);
    assert_eq!(parse(&short), Err(Malformed));
}

#[test]
fn no_cut_of_any_request_panics() {
    for opcode in 0..60 {
        let whole = request(opcode, 1, 1, &[1; 120]);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            if length >= 4 {
                cut[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            }
            let _ = parse(&cut);
        }
    }
}

#[test]
fn a_batch_forget_lists_its_nodes() {
    let mut body = Vec::new();
    body.extend_from_slice(&2u32.to_ne_bytes());
    body.extend_from_slice(&0u32.to_ne_bytes());
    for word in [5u64, 1, 6, 2] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    let bytes = request(42, 1, 0, &body);
    let Operation::BatchForget { items } = parse(&bytes).unwrap().1 else {
        panic!("not a batch forget");
    };
    assert_eq!(items.collect::<Vec<_>>(), [(5, 1), (6, 2)]);
    let lying = request(42, 1, 0, &u64::MAX.to_ne_bytes());
    assert_eq!(parse(&lying), Err(Malformed));
}

#[test]
fn attributes_are_changed_only_where_the_kernel_says_so() {
    let mut body = Vec::new();
    body.extend_from_slice(&(1u32 | 1 << 3 | 1 << 5 | 1 << 8).to_ne_bytes());
    body.extend_from_slice(&0u32.to_ne_bytes());
    for word in [0u64, 77, 0, 1, 2, 3] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    for word in [4u32, 5, 6, 0o644, 0, 11, 12, 0] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    let bytes = request(4, 1, 1, &body);
    let Operation::SetAttr(change) = parse(&bytes).unwrap().1 else {
        panic!("not a setattr");
    };
    let wanted = SetAttr {
        mode: Some(0o644),
        size: Some(77),
        modified: Some(When::Now),
        ..SetAttr::default()
    };
    assert_eq!(change, wanted);
}
