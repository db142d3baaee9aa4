"""An RTSP server of GStreamer, run by the Python that has its bindings.

It serves a moving ball, of 160x120 at 20 frames a second if nothing else is said, at /live, and takes a video at /in.
"""

import argparse
import random

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("port")
parser.add_argument("--login", nargs=2)
parser.add_argument("--codec", choices=["jpeg", "h264", "h265"], default="jpeg")
parser.add_argument("--sound", action="store_true", help="with a beep a second")
parser.add_argument("--relay", help="a UDP port that takes what is published at /in, as MPEG-TS")
parser.add_argument("--drop", type=float, default=0.0, help="the share of RTP packets that are lost")
parser.add_argument("--size", default="160x120")
parser.add_argument("--fps", type=int, default=20)
options = parser.parse_args()

WIDTH, HEIGHT = options.size.split("x")
SCENE = f"videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width={WIDTH},height={HEIGHT}"
SCENE += f",framerate={options.fps}/1"
ENCODE = {
    "jpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
    # Packets are small, so that an image takes several.
    "h264": "openh264enc gop-size=20 bitrate=400000 ! h264parse"
    " ! rtph264pay name=pay0 pt=96 mtu=300 config-interval=-1",
    "h265": "x265enc key-int-max=20 tune=zerolatency ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=-1",
}

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(options.port)


def lose_packets(_factory, media):
    # A list of packets, of one image, is lost whole; of a single packet an image comes damaged.
    pad = media.get_element().get_by_name("pay0").get_static_pad("src")
    dropped = Gst.PadProbeReturn.DROP
    pad.add_probe(
        Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST,
        lambda *_: dropped if random.random() < options.drop else Gst.PadProbeReturn.OK,
    )


factory = GstRtspServer.RTSPMediaFactory()
BEEPS = " audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=8000 ! alawenc ! rtppcmapay name=pay1 pt=8"
factory.set_launch(f"( {SCENE} ! {ENCODE[options.codec]}{BEEPS if options.sound else ''} )")
factory.set_shared(True)
if options.drop:
    random.seed(1)
    factory.connect("media-configure", lose_packets)
if options.login:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    login = GstRtspServer.RTSPAuth()
    login.add_basic(GstRtspServer.RTSPAuth.make_basic(*options.login), token)
    server.set_auth(login)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/live", factory)
if options.relay:
    taker = GstRtspServer.RTSPMediaFactory()
    taker.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
    taker.set_launch(
        "( rtph264depay name=depay0 ! h264parse config-interval=-1"
        " ! video/x-h264,stream-format=byte-stream,alignment=au ! mpegtsmux alignment=7"
        f" ! udpsink host=127.0.0.1 port={options.relay} sync=false )"
    )
    server.get_mount_points().add_factory("/in", taker)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
