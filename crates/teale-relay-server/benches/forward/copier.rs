//! The yardstick: copies bytes between two sockets and does nothing else, on the same runtime, with the same buffer.

use std::{pin::Pin, sync::Arc};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{MEASURED, pin, serve_questions};

const BUFFER: usize = 64 << 10;

/// Pairs connections in the order in which they come.
pub(crate) fn run() {
    pin(MEASURED);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        serve_questions(listener.local_addr().unwrap());
        loop {
            let (a, _) = listener.accept().await.unwrap();
            let (b, _) = listener.accept().await.unwrap();
            a.set_nodelay(true).unwrap();
            b.set_nodelay(true).unwrap();
            let (a_read, a_write) = a.into_split();
            let (b_read, b_write) = b.into_split();
            tokio::spawn(copy(a_read, Arc::new(b_write)));
            tokio::spawn(copy(b_read, Arc::new(a_write)));
        }
    });
}

async fn copy(mut from: OwnedReadHalf, to: Arc<OwnedWriteHalf>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = std::future::poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut buffer);
            Pin::new(&mut from).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
        });
        let Ok(count @ 1..) = read.await else { return };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if to.writable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}
