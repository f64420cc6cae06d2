// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The Rust half of the guest memory benchmark; see ../../mem.c, which does the same with cvmm.
//!
//!     mem-rust access SAMPLES OPS
//!     mem-rust swap PASSES

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{
    Address, Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryAtomic,
    GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

const SEQUENCE: usize = 4096;
const REGION_BYTES: u64 = 0x10_0000;
const WINDOW_BYTES: u64 = 0x4000;
const LARGEST: usize = 0x1_0000;
const MANY_REGIONS: u64 = 256;
const SWAPS_WANTED: u64 = 16;
const PASSES_MAX: usize = 4;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

type Map = GuestMemoryMmap<()>;
type MarkedMap = GuestMemoryMmap<AtomicBitmap>;

#[repr(align(4096))]
struct Buffer([u8; LARGEST]);

struct Bench {
    samples: u32,
    ops: usize,
    gpas: Vec<u32>,
    buffer: Box<Buffer>,
}

// ---- tools -----------------------------------------------------------------------------------

/// The time that this thread has run: others that want the processor, too, do not count.
fn busy_ns() -> f64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };

    // SAFETY: `ts` is a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut ts) };
    ts.tv_sec as f64 * 1e9 + ts.tv_nsec as f64
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Addresses for accesses of `size` bytes, each inside one of `regions` regions.
fn fill_inside(b: &mut Bench, regions: u64, size: u64) {
    let align = size.min(64);
    let window = (WINDOW_BYTES.max(4 * size) / regions).max(size);
    let mut state = SEED;

    for gpa in &mut b.gpas {
        let region = next_random(&mut state) % regions;
        let place = next_random(&mut state) % ((window - size) / align + 1);

        *gpa = (region * REGION_BYTES + place * align) as u32;
    }
}

/// Addresses of which half the access is in one region and half in the next.
fn fill_crossing(b: &mut Bench, regions: u64, size: u64) {
    let mut state = SEED;

    for gpa in &mut b.gpas {
        let region = 1 + next_random(&mut state) % (regions - 1);

        *gpa = (region * REGION_BYTES - size / 2) as u32;
    }
}

fn ranges(regions: u64) -> Vec<(GuestAddress, usize)> {
    (0..regions).map(|i| (GuestAddress(i * REGION_BYTES), REGION_BYTES as usize)).collect()
}

fn touch<M: GuestMemory>(mem: &M, regions: u64) {
    let zeros = vec![0; REGION_BYTES as usize];

    for i in 0..regions {
        mem.write_slice(&zeros, GuestAddress(i * REGION_BYTES)).unwrap();
    }
}

fn make_map(regions: u64) -> Map {
    let mem = Map::from_ranges(&ranges(regions)).unwrap();

    if regions <= 8 {
        touch(&mem, regions);
    }
    mem
}

/// Runs `access` for each address, `ops` times in all, and prints the time of one.
#[inline(always)]
fn measure(b: &Bench, name: &str, regions: &str, ops: usize, mut access: impl FnMut(GuestAddress)) {
    for sample in 0..=b.samples {
        let start = busy_ns();
        let mut done = 0;

        while done < ops {
            for &gpa in &b.gpas {
                access(GuestAddress(u64::from(gpa)));
            }
            done += SEQUENCE;
        }
        if sample > 0 {
            let ns = (busy_ns() - start) / done as f64;
            println!("{name}/{regions} {ns:.4}");
        }
    }
}

// ---- reads and writes ------------------------------------------------------------------------

macro_rules! object {
    ($b:expr, $mem:expr, $place:expr, $type:ty, $name:literal) => {
        let mut sum: u64 = 0;

        measure($b, concat!("read/", $name), $place, $b.ops, |gpa| {
            let v: $type = $mem.read_obj(gpa).unwrap();
            sum = sum.wrapping_add(u64::from(v));
        });
        black_box(sum);
        measure($b, concat!("write/", $name), $place, $b.ops, |gpa| {
            let v: $type = 0;
            $mem.write_obj(v, gpa).unwrap();
        });
    };
}

fn slice<const SIZE: usize>(b: &mut Bench, mem: &Map, place: &str, shrink: usize) {
    let ops = b.ops / shrink;
    let mut buffer = std::mem::replace(&mut b.buffer, Box::new(Buffer([0; LARGEST])));

    measure(b, &format!("read/{SIZE}"), place, ops, |gpa| {
        mem.read_slice(&mut buffer.0[..SIZE], gpa).unwrap();
        black_box(&mut buffer);
    });
    measure(b, &format!("write/{SIZE}"), place, ops, |gpa| {
        black_box(&mut buffer);
        mem.write_slice(&buffer.0[..SIZE], gpa).unwrap();
    });
    b.buffer = buffer;
}

const SIZES: [u64; 8] = [1, 2, 4, 8, 64, 512, 4096, LARGEST as u64];

fn one_size(b: &mut Bench, mem: &Map, place: &str, size: u64) {
    match size {
        1 => {
            object!(b, mem, place, u8, "u8");
        }
        2 => {
            object!(b, mem, place, u16, "u16");
        }
        4 => {
            object!(b, mem, place, u32, "u32");
        }
        8 => {
            object!(b, mem, place, u64, "u64");
        }
        64 => slice::<64>(b, mem, place, 1),
        512 => slice::<512>(b, mem, place, 4),
        4096 => slice::<4096>(b, mem, place, 16),
        _ => slice::<LARGEST>(b, mem, place, 64),
    }
}

fn bench_accesses(b: &mut Bench, mem: &Map, regions: u64) {
    for size in SIZES {
        fill_inside(b, regions, size);
        one_size(b, mem, &regions.to_string(), size);
    }
}

fn bench_crossing(b: &mut Bench, mem: &Map, regions: u64) {
    for &size in &SIZES[1..] {
        fill_crossing(b, regions, size);
        one_size(b, mem, "cross", size);
    }
}

// ---- everything else of one thread -----------------------------------------------------------

/// Each address depends on what was read before.
fn bench_chain(b: &mut Bench, mem: &Map, regions: u64) {
    let mut v: u64 = 0;

    fill_inside(b, regions, 8);
    measure(b, "chain/u64", &regions.to_string(), b.ops, |gpa| {
        v = mem.read_obj(gpa.unchecked_add(v)).unwrap();
    });
    black_box(v);
}

macro_rules! atomics {
    ($b:expr, $mem:expr, $regions:expr, $type:ty, $name:literal) => {
        let place = $regions.to_string();
        let mut sum: u64 = 0;

        fill_inside($b, $regions, std::mem::size_of::<$type>() as u64);
        measure($b, concat!("load-acquire/", $name), &place, $b.ops, |gpa| {
            let v: $type = $mem.load(gpa, Ordering::Acquire).unwrap();
            sum = sum.wrapping_add(u64::from(v));
        });
        black_box(sum);
        measure($b, concat!("store-release/", $name), &place, $b.ops, |gpa| {
            $mem.store(0 as $type, gpa, Ordering::Release).unwrap();
        });
    };
}

fn bench_atomics(b: &mut Bench, mem: &Map, regions: u64) {
    atomics!(b, mem, regions, u32, "u32");
    atomics!(b, mem, regions, u64, "u64");
}

fn bench_dirty(b: &mut Bench, regions: u64) {
    let mem = MarkedMap::from_ranges(&ranges(regions)).unwrap();
    let place = regions.to_string();
    let v: u64 = 0;

    touch(&mem, regions);
    fill_inside(b, regions, 8);
    measure(b, "dirty/u64", &place, b.ops, |gpa| mem.write_obj(v, gpa).unwrap());
    fill_inside(b, regions, 4096);
    measure(b, "dirty/4096", &place, b.ops / 16, |gpa| {
        black_box(&b.buffer);
        mem.write_slice(&b.buffer.0[..4096], gpa).unwrap();
    });
}

fn bench_find(b: &mut Bench) {
    let mem = make_map(MANY_REGIONS);
    let mut sum: u64 = 0;

    fill_inside(b, MANY_REGIONS, 8);
    measure(b, "find", "256", b.ops, |gpa| {
        sum = sum.wrapping_add(mem.find_region(gpa).unwrap().start_addr().0);
    });
    black_box(sum);
}

fn bench_snapshot(b: &Bench, mem: &Map) {
    let space = GuestMemoryAtomic::new(mem.clone());

    // There is one way of taking a snapshot; it stands against both of the others.
    for name in ["snapshot/get", "snapshot/cached"] {
        let mut sum: u64 = 0;

        measure(b, name, "8", b.ops, |gpa| {
            let current = space.memory();
            sum = sum.wrapping_add(gpa.0 + current.num_regions() as u64);
        });
        black_box(sum);
    }
}

fn run_access(b: &mut Bench) {
    let one = make_map(1);
    let eight = make_map(8);

    bench_find(b);
    bench_accesses(b, &one, 1);
    bench_accesses(b, &eight, 8);
    bench_crossing(b, &eight, 8);
    bench_chain(b, &one, 1);
    bench_chain(b, &eight, 8);
    bench_atomics(b, &one, 1);
    bench_atomics(b, &eight, 8);
    bench_dirty(b, 1);
    bench_dirty(b, 8);
    bench_snapshot(b, &eight);
}

// ---- replacing the map under readers ---------------------------------------------------------

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ticks(_start: &Instant) -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ticks(start: &Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}

/// Times each access on its own and prints how the times are spread. With a swapper, passes in
/// which it had no processor do not count.
#[inline(always)]
fn measure_each(
    b: &Bench,
    name: &str,
    passes: usize,
    swaps: Option<&AtomicU64>,
    mut access: impl FnMut(GuestAddress),
) {
    let mut times = vec![0x0101_0101u32; passes * SEQUENCE];
    let start = Instant::now();
    let start_ticks = ticks(&start);
    let done = || swaps.map_or(0, |swaps| swaps.load(Ordering::Relaxed));
    let mut got = 0;

    for _ in 0..passes * PASSES_MAX {
        let before = done();

        for (time, &gpa) in times[got * SEQUENCE..].iter_mut().zip(&b.gpas) {
            let gpa = GuestAddress(u64::from(gpa));
            let from = ticks(&start);

            access(gpa);
            *time = u32::try_from(ticks(&start) - from).unwrap_or(u32::MAX);
        }
        if swaps.is_none() || done() - before >= SWAPS_WANTED {
            got += 1;
            if got == passes {
                break;
            }
        }
    }
    if got < passes {
        return;
    }
    let tick_ns = start.elapsed().as_nanos() as f64 / (ticks(&start) - start_ticks) as f64;

    times.sort_unstable();
    for (point, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)] {
        let at = ((times.len() - 1) as f64 * share) as usize;
        println!("{name}/{point} {:.1}", f64::from(times[at]) * tick_ns);
    }
    println!("{name}/max {:.1}", f64::from(times[times.len() - 1]) * tick_ns);
}

fn measure_readers(
    b: &Bench,
    space: &GuestMemoryAtomic<Map>,
    swaps: Option<&AtomicU64>,
    passes: usize,
) {
    let state = if swaps.is_some() { "swap" } else { "still" };
    let mut sum: u64 = 0;

    measure_each(b, &format!("{state}/timer"), passes, swaps, |gpa| {
        black_box(gpa);
    });
    for kind in ["get", "cached"] {
        measure_each(b, &format!("{state}/{kind}"), passes, swaps, |gpa| {
            let mem = space.memory();
            let v: u64 = mem.read_obj(gpa).unwrap();
            sum = sum.wrapping_add(v);
        });
    }
    black_box(sum);
}

/// This thread to the first or the last processor allowed: else both may share one.
fn stay_on(last: bool) {
    // SAFETY: both sets are ours, and zeros are a set.
    unsafe {
        let size = std::mem::size_of::<libc::cpu_set_t>();
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let mut one: libc::cpu_set_t = std::mem::zeroed();

        if libc::sched_getaffinity(0, size, &mut allowed) != 0 {
            return;
        }
        let mut cpus = (0..libc::CPU_SETSIZE as usize).filter(|&i| libc::CPU_ISSET(i, &allowed));
        let chosen = if last { cpus.last() } else { cpus.next() };
        libc::CPU_SET(chosen.unwrap_or(0), &mut one);
        libc::sched_setaffinity(0, size, &one);
    }
}

fn run_swap(b: &mut Bench, passes: usize) {
    let mem = make_map(8);
    let space = GuestMemoryAtomic::new(mem.clone());
    let ready = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);

    fill_inside(b, 7, 8);
    measure_readers(b, &space, None, passes);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(false);
            ready.store(true, Ordering::Release);
            while !stop.load(Ordering::Relaxed) {
                let last = GuestAddress(7 * REGION_BYTES);
                let (smaller, _) = mem.remove_region(last, REGION_BYTES).unwrap();

                space.lock().unwrap().replace(smaller);
                space.lock().unwrap().replace(mem.clone());
                swaps.fetch_add(2, Ordering::Relaxed);
            }
        });
        // Only now: the new thread inherits where this one may run.
        while !ready.load(Ordering::Acquire) {}
        stay_on(true);
        while swaps.load(Ordering::Relaxed) == 0 {}
        measure_readers(b, &space, Some(&swaps), passes);
        stop.store(true, Ordering::Relaxed);
    });
    let ns = start.elapsed().as_nanos() as f64 / swaps.load(Ordering::Relaxed) as f64;
    println!("swap/ns-per-swap {ns:.1}");
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args.get(i).and_then(|text| text.parse::<usize>().ok());
    let mut b = Bench {
        samples: 0,
        ops: 0,
        gpas: vec![0; SEQUENCE],
        buffer: Box::new(Buffer([0; LARGEST])),
    };

    match (args.get(1).map(String::as_str), number(2), number(3)) {
        (Some("access"), Some(samples), Some(ops)) => {
            b.samples = samples as u32;
            b.ops = ops;
            run_access(&mut b);
        }
        (Some("swap"), Some(passes), None) => run_swap(&mut b, passes),
        _ => {
            eprintln!("usage: mem-rust access SAMPLES OPS | mem-rust swap PASSES");
            std::process::exit(1);
        }
    }
}
