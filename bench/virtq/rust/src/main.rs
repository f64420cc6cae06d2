// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The Rust half of the virtqueue benchmark; see ../../virtq.c, which does the same with cvmm.
//!
//!     virtq-rust all SAMPLES DESCRIPTORS
//!     virtq-rust pingpong SAMPLES CHAINS
//!     virtq-rust count CHAINS REGIONS

use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::ptr::{copy_nonoverlapping, read_volatile, write_bytes, write_volatile};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Instant;

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FNV_BASE: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

const ONE_BYTES: u64 = 0x1_0000_0000;
const MANY_REGIONS: u64 = 8;
const REGION_BYTES: u64 = 0x20_0000;
const REGION_STRIDE: u64 = 0x40_0000;

const DESC_AT: u64 = 0;
const AVAIL_AT: u64 = 0x8_0000;
const USED_AT: u64 = 0xa_0000;
const INDIRECT_AT: u64 = 0xf_0000;
const READABLE_AT: u64 = 0x10_0000;
const WRITABLE_AT: u64 = 0x14_0000;
const WINDOW_BYTES: u64 = 0x2000;

const DESC_BYTES: u64 = 16;
const DESC_F_NEXT: u16 = 1;
const DESC_F_WRITE: u16 = 2;
const DESC_F_INDIRECT: u16 = 4;

const QUEUE: u16 = 256;
const QUEUE_MAX: u32 = 32768;
const LARGEST: usize = 4096;
const FRESH: usize = 64;
const BATCH: usize = 32;
const USED_LEN_BYTES: u32 = 0x1000;

type Map = GuestMemoryMmap<()>;

#[derive(Clone, Copy)]
struct Shape {
    size: u16,
    chains: u16,
    length: u16,
    writable: u16,
    bytes: u32,
    regions: u64,
    indirect: bool,
    event_idx: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct Sums {
    buffers: u64,
    places: u64,
    readable: u64,
    writable: u64,
    heads: u64,
    notifications: u64,
}

struct Bench {
    samples: u32,
    ops: u32,
    clock_ns: f64,
    one: Map,
    many: Map,
}

struct Run<'a> {
    mem: &'a Map,
    shape: Shape,
    queue: Queue,
    avail: u16,
    sums: Sums,
    popped: [(u16, u32); QUEUE as usize],
    buffer: [u8; LARGEST],
}

// ---- tools -----------------------------------------------------------------------------------

/// The time that this thread has run: others that want the processor, too, do not count.
fn busy_ns() -> f64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };

    // SAFETY: `ts` is a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    ts.tv_sec as f64 * 1e9 + ts.tv_nsec as f64
}

fn measure_clock() -> f64 {
    let times = 10000;
    let start = busy_ns();

    for _ in 1..times {
        busy_ns();
    }
    (busy_ns() - start) / f64::from(times)
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn hash(mut h: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    for byte in bytes {
        h = (h ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }
    h
}

fn ranges(regions: u64) -> Vec<(GuestAddress, usize)> {
    let bytes = if regions == 1 { ONE_BYTES } else { REGION_BYTES };

    (0..regions).map(|i| (GuestAddress(i * REGION_STRIDE), bytes as usize)).collect()
}

/// Where guest memory is in this process; the driver goes this way, the device never does.
fn host(mem: &Map, gpa: u64) -> *mut u8 {
    mem.get_host_address(GuestAddress(gpa)).unwrap()
}

fn put<const N: usize>(mem: &Map, gpa: u64, bytes: [u8; N]) {
    // SAFETY: all that is put lies in guest memory.
    unsafe { copy_nonoverlapping(bytes.as_ptr(), host(mem, gpa), N) };
}

fn fill_zeros(mem: &Map, gpa: u64, len: u64) {
    // SAFETY: as above.
    unsafe { write_bytes(host(mem, gpa), 0, len as usize) };
}

fn index_at<'a>(mem: &'a Map, gpa: u64) -> &'a AtomicU16 {
    // SAFETY: it is in guest memory, aligned, and lives as long as that.
    unsafe { AtomicU16::from_ptr(host(mem, gpa).cast()) }
}

fn bytes_at<'a>(mem: &'a Map, gpa: u64, len: u64) -> impl Iterator<Item = u8> + 'a {
    let start = host(mem, gpa);

    // SAFETY: all that is looked at lies in guest memory.
    (0..len as usize).map(move |i| unsafe { read_volatile(start.add(i)) })
}

// ---- the driver ------------------------------------------------------------------------------

fn put_desc(mem: &Map, table: u64, i: u64, addr: u64, len: u32, flags: u16, next: u64) {
    let at = table + i * DESC_BYTES;

    put(mem, at, addr.to_le_bytes());
    put(mem, at + 8, len.to_le_bytes());
    put(mem, at + 12, flags.to_le_bytes());
    put(mem, at + 14, (next as u16).to_le_bytes());
}

fn place_buffer(shape: &Shape, n: u64, writable: bool, random: &mut u64) -> u64 {
    let bytes = u64::from(shape.bytes);
    let region = next_random(random) % shape.regions;
    let window = (WINDOW_BYTES / shape.regions).max(bytes);
    let start = if writable { WRITABLE_AT } else { READABLE_AT };

    region * REGION_STRIDE + start + n * bytes % window
}

fn head_of(shape: &Shape, chain: u64) -> u64 {
    if shape.indirect { chain } else { chain * u64::from(shape.length) }
}

fn put_chain(mem: &Map, shape: &Shape, chain: u64, random: &mut u64) {
    let length = u64::from(shape.length);
    let (mut table, mut first) = (DESC_AT, head_of(shape, chain));

    if shape.indirect {
        table = INDIRECT_AT + chain * length * DESC_BYTES;
        put_desc(mem, DESC_AT, first, table, (length * DESC_BYTES) as u32, DESC_F_INDIRECT, 0);
        first = 0;
    }
    for i in 0..length {
        let writable = i >= length - u64::from(shape.writable);
        let last = i + 1 == length;
        let gpa = place_buffer(shape, chain * length + i, writable, random);
        let flags = if last { 0 } else { DESC_F_NEXT } | if writable { DESC_F_WRITE } else { 0 };
        let next = if last { 0 } else { first + i + 1 };

        put_desc(mem, table, first + i, gpa, shape.bytes, flags, next);
    }
}

fn put_queue(mem: &Map, shape: &Shape) {
    let mut random = SEED;

    fill_zeros(mem, 0, READABLE_AT);
    for chain in 0..u64::from(shape.chains) {
        put_chain(mem, shape, chain, &mut random);
    }
    for slot in 0..u64::from(shape.size) {
        let head = head_of(shape, slot % u64::from(shape.chains));

        put(mem, AVAIL_AT + 4 + 2 * slot, (head as u16).to_le_bytes());
    }
    put(mem, AVAIL_AT + 4 + 2 * u64::from(shape.size), (shape.chains / 2).to_le_bytes());
    for i in 0..shape.regions {
        let region = i * REGION_STRIDE;

        for at in (0..WINDOW_BYTES).step_by(8) {
            put(mem, region + READABLE_AT + at, next_random(&mut random).to_le_bytes());
        }
        fill_zeros(mem, region + WRITABLE_AT, WINDOW_BYTES);
    }
}

fn store_avail(mem: &Map, index: u16) {
    index_at(mem, AVAIL_AT + 2).store(index.to_le(), Ordering::Release);
}

fn refill(r: &mut Run, count: u16) {
    r.avail = r.avail.wrapping_add(count);
    store_avail(r.mem, r.avail);
}

// ---- the device ------------------------------------------------------------------------------

#[inline(always)]
fn visit(sums: &mut Sums, chain: DescriptorChain<&Map>) -> u32 {
    visit_and(sums, chain, |_| ())
}

#[inline(always)]
fn visit_and(sums: &mut Sums, chain: DescriptorChain<&Map>, access: impl Fn(&Descriptor)) -> u32 {
    let before = sums.writable;

    sums.heads += u64::from(chain.head_index());
    for desc in chain {
        access(&desc);
        sums.places = sums.places.wrapping_add(desc.addr().0);
        if desc.is_write_only() {
            sums.writable += u64::from(desc.len());
        } else {
            sums.readable += u64::from(desc.len());
        }
        sums.buffers += 1;
    }
    (sums.writable - before) as u32
}

fn serve_walk(r: &mut Run) {
    let mut sums = r.sums;

    for chain in r.queue.iter(r.mem).unwrap() {
        visit(&mut sums, chain);
    }
    r.sums = sums;
}

fn serve_pop(r: &mut Run) {
    for i in 0..usize::from(r.shape.chains) {
        let chain = r.queue.pop_descriptor_chain(r.mem).unwrap();

        r.popped[i] = (chain.head_index(), USED_LEN_BYTES);
    }
}

fn serve_push(r: &mut Run) {
    for i in 0..usize::from(r.shape.chains) {
        r.queue.add_used(r.mem, r.popped[i].0, r.popped[i].1).unwrap();
    }
}

fn serve_push_notify(r: &mut Run) {
    let mut notifications = 0;

    for i in 0..usize::from(r.shape.chains) {
        r.queue.add_used(r.mem, r.popped[i].0, r.popped[i].1).unwrap();
        notifications += u64::from(r.queue.needs_notification(r.mem).unwrap());
    }
    r.sums.notifications += notifications;
}

fn serve_walk_push(r: &mut Run) {
    let mut sums = r.sums;

    for _ in 0..r.shape.chains {
        let chain = r.queue.pop_descriptor_chain(r.mem).unwrap();
        let head = chain.head_index();
        let len = visit(&mut sums, chain);

        r.queue.add_used(r.mem, head, len).unwrap();
    }
    r.sums = sums;
}

/// Descriptors have guest addresses, unchecked; this asks for the host's, too.
fn serve_host_push(r: &mut Run) {
    let (mut sums, mem) = (r.sums, r.mem);

    for _ in 0..r.shape.chains {
        let chain = r.queue.pop_descriptor_chain(mem).unwrap();
        let head = chain.head_index();
        let len = visit_and(&mut sums, chain, |desc| {
            let slice = mem.get_slice(desc.addr(), desc.len() as usize).unwrap();
            black_box(slice.ptr_guard_mut().as_ptr());
        });

        r.queue.add_used(mem, head, len).unwrap();
    }
    r.sums = sums;
}

fn serve_copy(r: &mut Run) {
    let len = r.shape.bytes as usize;

    for _ in 0..r.shape.chains {
        let chain = r.queue.pop_descriptor_chain(r.mem).unwrap();
        let head = chain.head_index();

        chain.clone().reader(r.mem).unwrap().read_exact(&mut r.buffer[..len]).unwrap();
        chain.writer(r.mem).unwrap().write_all(&r.buffer[..len]).unwrap();
        r.sums.heads += u64::from(head);
        r.queue.add_used(r.mem, head, r.shape.bytes).unwrap();
    }
}

/// There is no way of giving back several at once; it stands against both of the others.
fn serve_batches(r: &mut Run) {
    let mut used = [(0u16, 0u32); BATCH];

    for _ in 0..usize::from(r.shape.chains) / BATCH {
        let mut sums = r.sums;

        for (used, chain) in used.iter_mut().zip(r.queue.iter(r.mem).unwrap()) {
            let head = chain.head_index();

            *used = (head, visit(&mut sums, chain));
        }
        r.sums = sums;
        for (head, len) in used {
            r.queue.add_used(r.mem, head, len).unwrap();
        }
    }
}

// ---- measuring -------------------------------------------------------------------------------

fn make_queue(mem: &Map, shape: &Shape) -> Queue {
    let mut queue = Queue::new(shape.size).unwrap();

    queue.set_size(shape.size);
    queue.set_desc_table_address(Some(DESC_AT as u32), Some(0));
    queue.set_avail_ring_address(Some(AVAIL_AT as u32), Some(0));
    queue.set_used_ring_address(Some(USED_AT as u32), Some(0));
    queue.set_event_idx(shape.event_idx);
    queue.set_ready(true);
    assert!(queue.is_valid(mem));
    queue
}

fn make_run<'a>(b: &'a Bench, shape: &Shape) -> Run<'a> {
    let mem = if shape.regions == 1 { &b.one } else { &b.many };

    Run {
        mem,
        shape: *shape,
        queue: make_queue(mem, shape),
        avail: 0,
        sums: Sums::default(),
        popped: [(0, 0); QUEUE as usize],
        buffer: [0; LARGEST],
    }
}

fn print_check(r: &Run, name: &str) {
    let s = &r.sums;
    let mut h = FNV_BASE;

    for v in [s.buffers, s.places, s.readable, s.writable, s.heads, s.notifications] {
        h = hash(h, v.to_le_bytes());
    }
    h = hash(h, bytes_at(r.mem, USED_AT, 4 + 8 * u64::from(r.shape.size)));
    for i in 0..r.shape.regions {
        h = hash(h, bytes_at(r.mem, i * REGION_STRIDE + WRITABLE_AT, WINDOW_BYTES));
    }
    println!("check {name} {h:016x}");
}

fn measure(b: &Bench, name: &str, shape: &Shape, serve: impl Fn(&mut Run)) {
    let rounds = (b.ops / (u32::from(shape.chains) * u32::from(shape.length))).max(1);
    let mut r = make_run(b, shape);

    put_queue(r.mem, shape);
    for sample in 0..=b.samples {
        let start = busy_ns();

        for _ in 0..rounds {
            refill(&mut r, shape.chains);
            serve(&mut r);
        }
        let ns = busy_ns() - start - b.clock_ns;
        if sample > 0 {
            println!("{name} {:.4}", ns / f64::from(rounds) / f64::from(shape.chains));
        }
    }
    print_check(&r, name);
}

fn measure_fresh(
    b: &Bench,
    name: &str,
    shape: &Shape,
    prepare: Option<fn(&mut Run)>,
    serve: impl Fn(&mut Run),
    divisor: u16,
) {
    let in_round = FRESH as u32 * u32::from(shape.chains) * u32::from(shape.length);
    let rounds = (b.ops / in_round).max(1);
    let mut runs: Vec<Run> = (0..FRESH).map(|_| make_run(b, shape)).collect();

    put_queue(runs[0].mem, shape);
    store_avail(runs[0].mem, shape.chains);
    for sample in 0..=b.samples {
        let mut total = 0.0;

        for _ in 0..rounds {
            for r in &mut runs {
                r.queue = make_queue(r.mem, shape);
                if let Some(prepare) = prepare {
                    prepare(r);
                }
            }
            let start = busy_ns();
            runs.iter_mut().for_each(&serve);
            total += busy_ns() - start - b.clock_ns;
        }
        if sample > 0 {
            let queues = f64::from(rounds) * FRESH as f64;
            println!("{name} {:.4}", total / queues / f64::from(divisor));
        }
    }
    assert!(runs.iter().all(|r| r.sums == runs[0].sums));
    print_check(&runs[0], name);
}

// ---- the items -------------------------------------------------------------------------------

fn bench_upstream(b: &Bench) {
    let plain = Shape {
        size: QUEUE,
        chains: 1,
        length: 128,
        writable: 0,
        bytes: 64,
        regions: 1,
        indirect: false,
        event_idx: false,
    };
    let mut single = plain;
    let mut multiple = Shape { chains: 128, length: 1, ..plain };

    measure_fresh(b, "upstream/single-direct", &single, None, serve_walk, 1);
    measure_fresh(b, "upstream/multiple-direct", &multiple, None, serve_walk, 1);
    measure_fresh(b, "upstream/add-used", &multiple, Some(serve_pop), serve_push, 1);
    single.indirect = true;
    multiple.indirect = true;
    measure_fresh(b, "upstream/single-indirect", &single, None, serve_walk, 1);
    measure_fresh(b, "upstream/multiple-indirect", &multiple, None, serve_walk, 1);
}

fn two_descriptors(bytes: u32, regions: u64) -> Shape {
    Shape {
        size: QUEUE,
        chains: QUEUE / 2,
        length: 2,
        writable: 1,
        bytes,
        regions,
        indirect: false,
        event_idx: false,
    }
}

fn bench_requests(b: &Bench, regions: u64) {
    let shape = two_descriptors(64, regions);

    measure(b, &format!("two/{regions}"), &shape, serve_walk_push);
    measure(b, &format!("host/{regions}"), &shape, serve_host_push);
    measure(b, &format!("batch/{regions}"), &shape, serve_batches);
    measure(b, &format!("batch-singly/{regions}"), &shape, serve_batches);
    for bytes in [64, 512, LARGEST as u32] {
        let shape = two_descriptors(bytes, regions);
        measure(b, &format!("copy-{bytes}/{regions}"), &shape, serve_copy);
    }
}

fn bench_notify(b: &Bench) {
    let mut shape = two_descriptors(64, 1);

    measure_fresh(b, "notify/off", &shape, Some(serve_pop), serve_push_notify, shape.chains);
    shape.event_idx = true;
    measure_fresh(b, "notify/on", &shape, Some(serve_pop), serve_push_notify, shape.chains);
}

fn bench_lengths(b: &Bench) {
    let mut shape = two_descriptors(64, 1);
    let mut length = 1;

    while length <= QUEUE / 2 {
        shape.length = length;
        shape.writable = length / 2;
        shape.chains = QUEUE / length;
        measure(b, &format!("length/{length}"), &shape, serve_walk_push);
        length *= 2;
    }
}

fn bench_sizes(b: &Bench) {
    let mut shape = two_descriptors(64, 1);
    let mut size = 16;

    while size <= QUEUE_MAX {
        shape.size = size as u16;
        shape.chains = (size / 2) as u16;
        measure(b, &format!("size/{size}"), &shape, serve_walk_push);
        size *= 2;
    }
}

fn run_all(b: &Bench) {
    bench_upstream(b);
    bench_requests(b, 1);
    bench_requests(b, MANY_REGIONS);
    bench_notify(b);
    bench_lengths(b);
    bench_sizes(b);
}

fn run_count(b: &Bench, chains: u32, regions: u64) {
    let shape = two_descriptors(64, regions);
    let mut r = make_run(b, &shape);
    let mut done = 0;

    put_queue(r.mem, &shape);
    while done < chains {
        refill(&mut r, shape.chains);
        serve_walk_push(&mut r);
        done += u32::from(shape.chains);
    }
    print_check(&r, "count");
}

// ---- a driver and a device on two processors -------------------------------------------------

/// The first and the last processor that the program may use.
fn find_processors() -> (usize, usize) {
    // SAFETY: the set is ours, and zeros are a set.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();

        assert!(libc::sched_getaffinity(0, std::mem::size_of_val(&allowed), &mut allowed) == 0);
        let mut cpus = (0..libc::CPU_SETSIZE as usize).filter(|&i| libc::CPU_ISSET(i, &allowed));
        let first = cpus.next().unwrap();
        (first, cpus.last().unwrap_or(first))
    }
}

fn stay_on(processor: usize) {
    // SAFETY: the set is ours, and zeros are a set.
    unsafe {
        let mut one: libc::cpu_set_t = std::mem::zeroed();

        libc::CPU_SET(processor, &mut one);
        libc::sched_setaffinity(0, std::mem::size_of_val(&one), &one);
    }
}

fn serve_all(r: &mut Run, total: u64) {
    let mut sums = r.sums;
    let mut done = 0;

    while done < total {
        let Some(chain) = r.queue.pop_descriptor_chain(r.mem) else {
            spin_loop();
            continue;
        };
        let head = chain.head_index();
        let len = visit(&mut sums, chain);

        r.queue.add_used(r.mem, head, len).unwrap();
        done += 1;
    }
    r.sums = sums;
}

/// Keeps `outstanding` chains with the device, each with its descriptors written anew.
fn drive(mem: &Map, shape: &Shape, table: &[u8], total: u64, outstanding: u64) -> u64 {
    let chain_bytes = 2 * DESC_BYTES as usize;
    let (desc, avail, used) = (host(mem, DESC_AT), host(mem, AVAIL_AT), host(mem, USED_AT));
    let (avail_idx, used_idx) = (index_at(mem, AVAIL_AT + 2), index_at(mem, USED_AT + 2));
    let (mut sent, mut seen, mut heads) = (0u64, 0u64, 0u64);
    let queue = usize::from(QUEUE);

    while seen < total {
        let index = u16::from_le(used_idx.load(Ordering::Acquire));
        let before = sent;

        while seen as u16 != index {
            // SAFETY: the used ring is in guest memory.
            let head = unsafe { read_volatile(used.add(4 + 8 * (seen as usize % queue)).cast()) };
            heads += u64::from(u32::from_le(head));
            seen += 1;
        }
        while sent < total && sent - seen < outstanding {
            let chain = sent as usize % usize::from(shape.chains);
            let at = chain * chain_bytes;

            // SAFETY: table and available ring are in guest memory.
            unsafe {
                copy_nonoverlapping(table[at..].as_ptr(), desc.add(at), chain_bytes);
                let slot = avail.add(4 + 2 * (sent as usize % queue));
                write_volatile(slot.cast(), (2 * chain as u16).to_le());
            }
            sent += 1;
        }
        if sent == before {
            spin_loop();
        } else {
            avail_idx.store((sent as u16).to_le(), Ordering::Release);
        }
    }
    heads
}

fn play(b: &Bench, name: &str, where_to: (usize, usize), outstanding: u64, total: u64) {
    let shape = two_descriptors(64, 1);
    let mut r = make_run(b, &shape);
    let mut table = vec![0; usize::from(QUEUE) * DESC_BYTES as usize];

    stay_on(where_to.1);
    for sample in 0..=b.samples {
        let ready = AtomicBool::new(false);
        let mem = r.mem;

        put_queue(mem, &shape);
        for (to, from) in table.iter_mut().zip(bytes_at(mem, DESC_AT, u64::from(QUEUE) * DESC_BYTES)) {
            *to = from;
        }
        r = make_run(b, &shape);
        let heads = std::thread::scope(|scope| {
            scope.spawn(|| {
                stay_on(where_to.0);
                ready.store(true, Ordering::Release);
                serve_all(&mut r, total);
            });
            while !ready.load(Ordering::Acquire) {}
            let start = Instant::now();
            let heads = drive(mem, &shape, &table, total, outstanding);
            if sample > 0 {
                println!("{name} {:.4}", start.elapsed().as_nanos() as f64 / total as f64);
            }
            heads
        });
        r.sums.heads += heads;
    }
    print_check(&r, name);
}

fn run_pingpong(b: &Bench, chains: u32) {
    let where_to = find_processors();

    if where_to.0 == where_to.1 {
        return;
    }
    play(b, "pingpong/1", where_to, 1, u64::from(chains));
    play(b, "pingpong/32", where_to, BATCH as u64, u64::from(chains));
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args.get(i).and_then(|text| text.parse::<u32>().ok());
    let (Some(first), Some(second)) = (number(2), number(3)) else {
        eprintln!("usage: virtq-rust all|pingpong|count NUMBER NUMBER");
        std::process::exit(1);
    };
    let mut b = Bench {
        samples: first,
        ops: second,
        clock_ns: 0.0,
        one: Map::from_ranges(&ranges(1)).unwrap(),
        many: Map::from_ranges(&ranges(MANY_REGIONS)).unwrap(),
    };

    match args[1].as_str() {
        "all" => {
            b.clock_ns = measure_clock();
            run_all(&b);
        }
        "pingpong" => run_pingpong(&b, second),
        _ => run_count(&b, first, u64::from(second)),
    }
}
