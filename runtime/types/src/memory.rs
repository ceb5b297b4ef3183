//! Sizes of what the processes of a pool keep in memory: stacks, tables, and the buffers of payloads.

/// Bytes of an element of a table.
pub const TABLE_ELEMENT_SIZE: u64 = 8;
/// Payload size from which bytes are passed on without a copy. Copying less costs less than counting references.
pub const LARGE_PAYLOAD: usize = 64 << 10;
/// Largest buffer that is kept for the next message. Getting its pages from the kernel again costs more than copying into them.
pub const MAX_RETAINED_BUFFER: usize = 4 << 20;
/// Stack for host calls that a thread has beside the guest's stack.
const HOST_STACK: u64 = 3 << 20;

/// Returns the stack size of a thread that runs guests with a stack of `guest` bytes.
#[must_use]
pub const fn thread_stack(guest: u64) -> usize {
    // At most `MAX_STACK` and some MiB.
    guest.saturating_add(HOST_STACK) as usize
}
