"""Which ImageNet classes stand for the classes of VOC and COCO: the names that were chosen by hand.

A line for each class in the order of its dataset. ``first .. last`` is a run of neighbours in
ImageNet's order, ``as name`` what the class of that name of VOC has. The rule, and why some names
are not here: ``docs/class-groups.md``.
"""

VOC20 = """
aeroplane: airliner, warplane
bicycle: bicycle-built-for-two, mountain bike, tricycle, unicycle
bird: cock .. great grey owl, black grouse .. black swan, white stork .. albatross
boat: canoe, catamaran, container ship, fireboat, gondola, lifeboat, liner,
    pirate, schooner, speedboat, trimaran, yawl
bottle: beer bottle, pill bottle, pop bottle, water bottle, wine bottle
bus: minibus, school bus, trolleybus
car: beach wagon, cab, convertible, jeep, limousine, minivan, Model T, racer, sports car
cat: tabby .. Egyptian cat
chair: barber chair, folding chair, rocking chair, throne
cow: ox, water buffalo, bison
diningtable: dining table
dog: Chihuahua .. Mexican hairless
horse: sorrel
motorbike: moped, motor scooter
person: ballplayer, groom, scuba diver
pottedplant: pot
sheep: ram, bighorn
sofa: studio couch
train: bullet train, electric locomotive, freight car, passenger car, steam locomotive, streetcar
tvmonitor: monitor, screen, television
"""

COCO80 = """
person: as person
bicycle: as bicycle
car: as car
motorcycle: as motorbike
airplane: as aeroplane
bus: as bus
train: as train
truck: fire engine, garbage truck, moving van, pickup, tow truck, trailer truck
boat: as boat
traffic light: traffic light
fire hydrant:
stop sign: street sign
parking meter: parking meter
bench: park bench
bird: as bird
cat: as cat
dog: as dog
horse: as horse
sheep: as sheep
cow: as cow
elephant: tusker, Indian elephant, African elephant
bear: brown bear .. sloth bear
zebra: zebra
giraffe:
backpack: backpack
umbrella: umbrella
handbag: purse
tie: bolo tie, bow tie, Windsor tie
suitcase:
frisbee:
skis: ski
snowboard:
sports ball: baseball, basketball, croquet ball, golf ball, ping-pong ball, rugby ball,
    soccer ball, tennis ball, volleyball
kite:
baseball bat:
baseball glove:
skateboard:
surfboard:
tennis racket: racket
bottle: as bottle
wine glass: goblet, red wine
cup: beer glass, coffee mug, cup
fork:
knife: cleaver
spoon: wooden spoon
bowl: mixing bowl, soup bowl
banana: banana
apple: Granny Smith
sandwich: cheeseburger
orange: orange
broccoli: broccoli
carrot:
hot dog: hotdog
pizza: pizza
donut:
cake:
chair: as chair
couch: as sofa
potted plant: as pottedplant
bed: four-poster
dining table: as diningtable
toilet: toilet seat
tv: as tvmonitor
laptop: laptop, notebook
mouse: mouse
remote: remote control
keyboard: computer keyboard
cell phone: cellular telephone
microwave: microwave
oven: stove
toaster: toaster
sink: washbasin
refrigerator: refrigerator
book: book jacket, comic book
clock: analog clock, digital clock, wall clock
vase: vase
scissors:
teddy bear: teddy
hair drier: hand blower
toothbrush:
"""
