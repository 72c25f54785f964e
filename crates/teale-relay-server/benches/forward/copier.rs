//! The yardstick: copies bytes between two sockets and does nothing else, on the same runtime.

use std::{pin::Pin, sync::Arc};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{MEASURED, pin, serve_questions};

/// Pairs connections in the order in which they come. `buffer` is what is read at once, in bytes.
pub(crate) fn run(buffer: usize) {
    pin(MEASURED);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = crate::listener();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        serve_questions(listener.local_addr().unwrap());
        loop {
            let (a, _) = listener.accept().await.unwrap();
            let (b, _) = listener.accept().await.unwrap();
            a.set_nodelay(true).unwrap();
            b.set_nodelay(true).unwrap();
            let (a_read, a_write) = a.into_split();
            let (b_read, b_write) = b.into_split();
            tokio::spawn(copy(a_read, Arc::new(b_write), buffer));
            tokio::spawn(copy(b_read, Arc::new(a_write), buffer));
        }
    });
}

async fn copy(mut from: OwnedReadHalf, to: Arc<OwnedWriteHalf>, buffer: usize) {
    let mut buffer = vec![0; buffer];
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
