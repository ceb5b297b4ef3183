//! A large command, as a binary module: thousands of functions, none of which runs.

/// Number of functions: their compiled form has about 38 MB.
const FUNCTIONS: u32 = 24_500;

/// Returns the module.
pub fn module() -> Vec<u8> {
    // () -> (), for `_start`, and (i32, i32) -> i32.
    let types = list(&[b"\x60\0\0".to_vec(), b"\x60\x02\x7f\x7f\x01\x7f".to_vec()]);
    let functions = list(&[&[vec![0]][..], &vec![vec![1]; FUNCTIONS as usize]].concat());
    let table = list(&[[b"\x70\0".to_vec(), number(FUNCTIONS)].concat()]);
    let memory = list(&[b"\0\x01".to_vec()]);
    let exports = list(&[b"\x06memory\x02\0".to_vec(), b"\x06_start\0\0".to_vec()]);
    let in_table: Vec<_> = (1..=FUNCTIONS).map(number).collect();
    let elements = list(&[[b"\0\x41\0\x0b".to_vec(), list(&in_table)].concat()]);
    let start = b"\x02\0\x0b".to_vec();
    let bodies: Vec<_> = [start].into_iter().chain((0..FUNCTIONS).map(body)).collect();
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, section) in [
        (1, types),
        (3, functions),
        (4, table),
        (5, memory),
        (7, exports),
        (9, elements),
        (10, list(&bodies)),
    ] {
        module.push(id);
        module.extend(sized(section));
    }
    module
}

/// Returns the body of a function: rotations of its first argument by constants, and loads at constant offsets, added up.
fn body(function: u32) -> Vec<u8> {
    let mut code = vec![0];
    for step in 0..30 {
        let turn = ((function * 7 + step) % 31 + 1) as u8;
        let offset = number((function * 13 + step * 8) % 60_000);
        // local.get 0, i32.const turn, i32.rotl, local.get 1, i32.const 1023, i32.and, i32.load offset, i32.add, local.set 0
        code.extend([
            0x20, 0, 0x41, turn, 0x77, 0x20, 1, 0x41, 0xff, 0x07, 0x71, 0x28, 0x02,
        ]);
        code.extend(offset);
        code.extend([0x6a, 0x21, 0]);
    }
    code.extend([0x20, 0, 0x0b]);
    sized(code)
}

/// Encodes a number (LEB128).
fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 127) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 128);
    }
}

/// Puts the length in front of bytes.
fn sized(bytes: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("some MB");
    [number(length), bytes].concat()
}

/// Puts the number of items in front of them.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(items.len()).expect("some thousands");
    [number(count), items.concat()].concat()
}
