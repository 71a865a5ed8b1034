// SPDX-License-Identifier: MIT

import io.netty.bootstrap.Bootstrap;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.channel.*;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.channel.socket.DuplexChannel;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.LengthFieldBasedFrameDecoder;
import io.netty.handler.codec.LengthFieldPrepender;
import io.netty.handler.codec.protobuf.ProtobufVarint32FrameDecoder;
import io.netty.handler.codec.protobuf.ProtobufVarint32LengthFieldPrepender;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/**
 * A peer with Netty: LengthFieldPrepender, LengthFieldBasedFrameDecoder. What it is asked for is in
 * test_other_languages.py.
 */
public class LengthField {
    static final int MAX_MESSAGE = 16 << 20;
    static final EventLoopGroup group = new NioEventLoopGroup(1);
    static volatile String failure;

    /** What both sides have: an end that waits for what is still to be sent. */
    abstract static class Peer extends SimpleChannelInboundHandler<ByteBuf> {
        ChannelFuture last;

        void send(ChannelHandlerContext context, ByteBuf message) {
            last = context.write(message);
        }

        static void cut(ChannelHandlerContext context) {
            context.pipeline().remove(LengthFieldPrepender.class);
            ByteBuf bytes = Unpooled.buffer().writeInt(100);
            bytes.writeCharSequence("0123456789", StandardCharsets.UTF_8);
            context.writeAndFlush(bytes).addListener(ChannelFutureListener.CLOSE);
        }

        void closeAfterTheLast(ChannelHandlerContext context) {
            if (last == null)
                context.close();
            else
                last.addListener(ChannelFutureListener.CLOSE);
            context.flush();
        }

        @Override
        public void channelReadComplete(ChannelHandlerContext context) {
            context.flush();
        }

        @Override
        public void userEventTriggered(ChannelHandlerContext context, Object event) {
            if (event == ChannelInputShutdownEvent.INSTANCE)
                closeAfterTheLast(context);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            failure = cause.toString();
            context.close();
        }
    }

    static class Echo extends Peer {
        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf message) {
            String text = message.readableBytes() > 5 ? "" : message.toString(StandardCharsets.UTF_8);
            if (text.equals("cut"))
                cut(context);
            else if (text.equals("leave"))
                closeAfterTheLast(context);
            else
                send(context, message.retain());
        }
    }

    /** Sends its messages, and expects each of them back. */
    static class Client extends Peer {
        final List<ByteBuf> messages;
        int answers;

        Client(List<ByteBuf> messages) {
            this.messages = messages;
        }

        @Override
        public void channelActive(ChannelHandlerContext context) {
            for (ByteBuf message : messages)
                send(context, message.retainedDuplicate());
            context.flush();
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf message) {
            if (answers == messages.size() || !message.equals(messages.get(answers)))
                throw new IllegalStateException("answer " + answers + " is another");
            answers++;
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            if (failure == null && answers != messages.size())
                failure = answers + " of " + messages.size() + " answers";
        }
    }

    static class Talk extends Client {
        Talk(List<ByteBuf> messages) {
            super(messages);
        }

        /** What is not sent yet, shutdownOutput would drop. */
        @Override
        public void channelActive(ChannelHandlerContext context) {
            super.channelActive(context);
            var channel = (DuplexChannel) context.channel();
            last.addListener(future -> channel.shutdownOutput());
        }
    }

    static class Leave extends Client {
        Leave() {
            super(List.of(Unpooled.copiedBuffer("hello", StandardCharsets.UTF_8)));
        }

        @Override
        protected void channelRead0(ChannelHandlerContext context, ByteBuf message) {
            super.channelRead0(context, message);
            context.close();
        }
    }

    static class Cut extends Client {
        Cut() {
            super(List.of());
        }

        @Override
        public void channelActive(ChannelHandlerContext context) {
            cut(context);
        }
    }

    static ChannelInitializer<SocketChannel> pipelineOf(Supplier<Peer> peer) {
        return new ChannelInitializer<>() {
            @Override
            protected void initChannel(SocketChannel channel) {
                /* Netty's limit is of the whole frame: message and prefix. */
                channel.pipeline().addLast(
                    new LengthFieldBasedFrameDecoder(MAX_MESSAGE + 4, 0, 4, 0, 4),
                    new LengthFieldPrepender(4), peer.get());
            }
        };
    }

    static void serve() throws Exception {
        var bootstrap = new ServerBootstrap().group(group).channel(NioServerSocketChannel.class)
            .childOption(ChannelOption.ALLOW_HALF_CLOSURE, true)
            .childOption(ChannelOption.TCP_NODELAY, true)
            .childHandler(pipelineOf(Echo::new));
        Channel listener = bootstrap.bind("127.0.0.1", 0).sync().channel();
        var address = (java.net.InetSocketAddress) listener.localAddress();
        System.out.println("listening on 127.0.0.1:" + address.getPort());
        listener.closeFuture().sync();
    }

    static void dial(String port, Client client) throws Exception {
        var bootstrap = new Bootstrap().group(group).channel(NioSocketChannel.class)
            .option(ChannelOption.ALLOW_HALF_CLOSURE, true)
            .option(ChannelOption.TCP_NODELAY, true)
            .handler(pipelineOf(() -> client));
        bootstrap.connect("127.0.0.1", Integer.parseInt(port)).sync()
            .channel().closeFuture().sync();
    }

    static List<ByteBuf> messagesOf(List<String> words) {
        var messages = new ArrayList<ByteBuf>();
        for (String word : words) {
            String[] parts = word.split("x");
            for (int count = Integer.parseInt(parts[0]); count > 0; count--) {
                byte[] message = new byte[Integer.parseInt(parts[1])];
                for (int at = 0; at < message.length; at++)
                    message[at] = (byte) ((messages.size() + at) % 251);
                messages.add(Unpooled.wrappedBuffer(message));
            }
        }
        return messages;
    }

    static void talk(String port, List<String> words) throws Exception {
        List<ByteBuf> messages = messagesOf(words);
        dial(port, new Talk(messages));
        long sum = messages.stream().mapToLong(ByteBuf::readableBytes).sum();
        if (failure == null)
            System.out.println(messages.size() + " messages, " + sum + " bytes");
    }

    static EmbeddedChannel codecOf(String width, boolean little, boolean counts) {
        if (width.equals("varint"))
            return new EmbeddedChannel(new ProtobufVarint32FrameDecoder(),
                new ProtobufVarint32LengthFieldPrepender());
        int size = Integer.parseInt(width);
        ByteOrder order = little ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN;
        return new EmbeddedChannel(
            new LengthFieldBasedFrameDecoder(order, MAX_MESSAGE, 0, size, counts ? -size : 0, size,
                true),
            new LengthFieldPrepender(order, size, 0, counts));
    }

    /** The messages of a stream, and what they make when they are written again. */
    static String reframe(String line) {
        String[] words = line.split(" ", -1);
        EmbeddedChannel codec =
            codecOf(words[0], words[1].equals("little"), words[2].equals("counting"));
        codec.writeInbound(Unpooled.wrappedBuffer(ByteBufUtil.decodeHexDump(words[3])));
        var messages = new ArrayList<String>();
        for (ByteBuf message; (message = codec.readInbound()) != null; codec.writeOutbound(message))
            messages.add(ByteBufUtil.hexDump(message));
        var wire = new StringBuilder();
        for (ByteBuf bytes; (bytes = codec.readOutbound()) != null; bytes.release())
            wire.append(ByteBufUtil.hexDump(bytes));
        return messages.size() + " " + String.join(",", messages) + " " + wire;
    }

    static void version() {
        var version = io.netty.util.Version.identify().get("netty-codec");
        System.out.println("Netty " + (version == null ? "?" : version.artifactVersion()) + ", Java "
            + System.getProperty("java.version"));
    }

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "serve" -> serve();
            case "talk" -> talk(arguments[1], List.of(arguments).subList(2, arguments.length));
            case "leave" -> dial(arguments[1], new Leave());
            case "cut" -> dial(arguments[1], new Cut());
            case "reframe" -> new BufferedReader(new InputStreamReader(System.in)).lines()
                .map(LengthField::reframe).forEach(System.out::println);
            case "version" -> version();
        }
        if (failure != null)
            System.err.println(failure);
        System.exit(failure == null ? 0 : 1);
    }
}
