/** Threads that allocate, wait and park, timers, direct and mapped memory, an NIO selector that answers with numbers. */
import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.concurrent.locks.*;

public class Server {
    static void wrong(Object what) {
        try (FileWriter file = new FileWriter("/data/wrong", true)) {
            file.write(what + "\n");
        } catch (IOException error) {
            System.exit(3);
        }
    }

    static void allocate(int seed, ConcurrentHashMap<Integer, byte[]> map) {
        Random random = new Random(seed);
        while (true) {
            int key = random.nextInt(500);
            byte[] value = new byte[10000];
            Arrays.fill(value, (byte) key);
            map.put(key, value);
            byte[] other = map.get(random.nextInt(500));
            if (other != null && other[0] != other[9999]) wrong("torn");
            LockSupport.parkNanos(500000);
        }
    }

    static void await() {
        Object monitor = new Object();
        while (true) {
            try {
                synchronized (monitor) {
                    monitor.wait(20);
                }
                Thread.sleep(5);
            } catch (InterruptedException error) {
                wrong(error);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> wrong(error));
        AtomicLong ticks = new AtomicLong();
        Executors.newScheduledThreadPool(2).scheduleAtFixedRate(ticks::incrementAndGet, 0, 5, TimeUnit.MILLISECONDS);
        ByteBuffer direct = ByteBuffer.allocateDirect(8 << 20);
        for (int i = 0; i < direct.capacity(); i += 8) direct.putLong(i, i * 31L);
        ConcurrentHashMap<Integer, byte[]> map = new ConcurrentHashMap<>();
        for (int i = 0; i < 3; i++) {
            int seed = i;
            new Thread(() -> allocate(seed, map)).start();
        }
        new Thread(Server::await).start();
        FileChannel file = FileChannel.open(
            Path.of("/data/mapped"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
        MappedByteBuffer mapped = file.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress("127.0.0.1", 8080));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        ByteBuffer input = ByteBuffer.allocateDirect(65536);
        for (long number = 1; ; ) {
            selector.select(1000);
            Iterator<SelectionKey> keys = selector.selectedKeys().iterator();
            while (keys.hasNext()) {
                SelectionKey key = keys.next();
                keys.remove();
                if (key.isAcceptable()) {
                    SocketChannel client = listener.accept();
                    client.configureBlocking(false);
                    client.register(selector, SelectionKey.OP_READ);
                    continue;
                }
                SocketChannel client = (SocketChannel) key.channel();
                input.clear();
                if (client.read(input) < 0) {
                    client.close();
                    continue;
                }
                int index = (int) (number * 8 % direct.capacity());
                if (direct.getLong(index) != index * 31L) wrong("direct " + index);
                if (mapped.getLong(0) != number - 1) wrong("mapped " + mapped.getLong(0));
                mapped.putLong(0, number);
                String body = "" + number++;
                String answer = "HTTP/1.1 200 OK\r\nContent-Length: " + body.length() + "\r\n\r\n" + body;
                client.write(ByteBuffer.wrap(answer.getBytes()));
            }
        }
    }
}
