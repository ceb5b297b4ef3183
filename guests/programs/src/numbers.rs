//! Arithmetic in loops.

use crate::program::program;
use crate::sequence::next;

program! {
    /// Multiplies two square matrices of this many rows.
    Matrix: |size| {
        let n = size as usize;
        let fill = |modulus: usize| (0..n * n).map(|at| (at % modulus) as f64).collect::<Vec<_>>();
        let (left, right) = (fill(17), fill(13));
        let mut product = vec![0.0; n * n];
        for (row, sums) in left.chunks(n).zip(product.chunks_mut(n)) {
            for (&factor, column) in row.iter().zip(right.chunks(n)) {
                for (sum, &other) in sums.iter_mut().zip(column) {
                    *sum += factor * other;
                }
            }
        }
        product.iter().sum::<f64>() as u64
    }
}

program! {
    /// Counts the primes up to this number.
    Sieve: |size| {
        let size = size as usize;
        let mut is_composite = vec![false; size + 1];
        let mut factor = 2;
        while factor * factor <= size {
            if !is_composite[factor] {
                let mut multiple = factor * factor;
                while multiple <= size {
                    is_composite[multiple] = true;
                    multiple += factor;
                }
            }
            factor += 1;
        }
        is_composite[2..].iter().filter(|&&composite| !composite).count() as u64
    }
}

program! {
    /// Iterates the points of a square with this many points on each side.
    Mandelbrot: |size| {
        let mut total = 0;
        for y in 0..size {
            for x in 0..size {
                let (cx, cy) = (
                    f64::from(x) * 3.0 / f64::from(size) - 2.0,
                    f64::from(y) * 2.0 / f64::from(size) - 1.0,
                );
                let (mut re, mut im, mut steps) = (0.0, 0.0, 0_u64);
                while steps < 100 && re * re + im * im < 4.0 {
                    (re, im) = (re * re - im * im + cx, 2.0 * re * im + cy);
                    steps += 1;
                }
                total += steps;
            }
        }
        total
    }
}

/// A body with position, speed and mass.
#[derive(Clone, Copy)]
struct Body {
    at: [f64; 3],
    speed: [f64; 3],
    mass: f64,
}

program! {
    /// Moves five bodies under gravity for this many steps.
    Bodies: |size| {
        let mut state = 99;
        let mut number = || (next(&mut state) % 2000) as f64 / 100.0 - 10.0;
        let mut bodies = [(); 5].map(|()| Body {
            at: [(); 3].map(|()| number()),
            speed: [(); 3].map(|()| number() / 10.0),
            mass: 1.0 + number().abs(),
        });
        for _ in 0..size {
            for one in 0..bodies.len() {
                for other in one + 1..bodies.len() {
                    let (a, b) = (bodies[one], bodies[other]);
                    let way = [0, 1, 2].map(|axis| a.at[axis] - b.at[axis]);
                    let square = way.iter().map(|part| part * part).sum::<f64>() + 0.01;
                    let pull = 0.001 / (square * square.sqrt());
                    for (axis, part) in way.into_iter().enumerate() {
                        bodies[one].speed[axis] -= part * b.mass * pull;
                        bodies[other].speed[axis] += part * a.mass * pull;
                    }
                }
            }
            for body in &mut bodies {
                for (at, speed) in body.at.iter_mut().zip(body.speed) {
                    *at += 0.001 * speed;
                }
            }
        }
        (bodies[0].at[0].abs() * 1e9) as u64
    }
}

program! {
    /// Mixes this many blocks of sixteen words, with long loop bodies of shifts and additions.
    Hash: |size| {
        let mut sum = [0x6a09_e667_u32, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];
        for block in 0..size {
            let mut words = [0_u32; 16];
            for (at, word) in words.iter_mut().enumerate() {
                *word = block.wrapping_mul(31).wrapping_add(at as u32);
            }
            for round in 0..4 {
                for four in words.chunks(4) {
                    let [a, b, c, d] = &mut sum;
                    *a = a.wrapping_add(*b ^ four[0]).rotate_left(7);
                    *b = b.wrapping_add(*c & four[1]).rotate_left(12);
                    *c = c.wrapping_add(*d | four[2]).rotate_left(17);
                    *d = d.wrapping_add(*a ^ four[3] ^ round).rotate_left(22);
                }
            }
        }
        sum.iter().map(|&word| u64::from(word)).sum()
    }
}
