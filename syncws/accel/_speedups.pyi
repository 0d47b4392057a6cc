from .pure import FrameParser as FrameParser
from .pure import apply_mask as apply_mask
from .pure import serialize_frame as serialize_frame
from .pure import serialize_messages as serialize_messages
from .pure_channel import Channel as Channel
from .pure_channel import MessageQueue as MessageQueue
from .pure_channel import WriteLock as WriteLock

def forget_masking_keys() -> None: ...
